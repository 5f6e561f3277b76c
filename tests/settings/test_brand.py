"""A brand's colour can be read on every page; its logo can be shown."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reach.settings import Settings
from reach.settings.brand import (
    DARK,
    LEAST_CONTRAST,
    LIGHT,
    MOST_LOGO_BYTES,
    Brand,
    contrast,
    parse_color,
    written,
)

LEVEL = st.integers(0, 255)


@given(st.tuples(LEVEL, LEVEL, LEVEL))
def test_any_colour_can_be_read(color: tuple[int, int, int]) -> None:
    """Links on what is behind them, and words on buttons, under the pointer too: 4.5 or more."""
    brand = Brand("Tea", written(color))
    for shades, behind in ((brand.light, LIGHT), (brand.dark, DARK)):
        fill, on_fill, strong, text = map(
            parse_color, (shades.fill, shades.on_fill, shades.strong, shades.text)
        )
        assert contrast(fill, on_fill) >= LEAST_CONTRAST
        assert contrast(strong, on_fill) >= LEAST_CONTRAST
        assert min(contrast(text, parse_color(back)) for back in behind) >= LEAST_CONTRAST


@pytest.mark.parametrize("color", ["#2457d6", "#0b6e4f", "#8a1c3b"])
def test_a_colour_that_can_be_read_stays_as_it_is(color: str) -> None:
    """On light pages, which are what a brand's colour is chosen for."""
    assert (Brand("Tea", color).light.fill, Brand("Tea", color).light.text) == (color, color)


def test_contrast_is_that_of_the_recommendation() -> None:
    """WCAG's own examples: black on white is 21, #777777 on white is a little less than 4.5."""
    white = (255, 255, 255)
    assert contrast((0, 0, 0), white) == pytest.approx(21)
    assert contrast(parse_color("#777777"), white) == pytest.approx(4.48, abs=0.005)
    assert contrast(parse_color("#767676"), white) == pytest.approx(4.54, abs=0.005)


@pytest.mark.parametrize("color", ["blue", "#abc", "2457d6", "#2457d67", "#2457dg", "#2457d6;"])
def test_what_is_no_colour_is_refused(make_settings: Callable[..., Settings], color: str) -> None:
    """At the start."""
    with pytest.raises(ValueError, match="must be a colour like #2457d6"):
        make_settings(brand_color=color)


@pytest.mark.parametrize(
    ("logo", "said"),
    [
        ("nowhere.png", "cannot be read"),
        ("notes.txt", "must be a URL, or a file that ends in"),
        ("https://", "must be like https"),
        ("https://example.org/a b.png", "must be like https"),
        ("https://a;script-src/x.png", "must be like https"),
        ("http://[x/a.png", "must be like https"),
    ],
)
def test_what_is_no_logo_is_refused(
    make_settings: Callable[..., Settings], logo: str, said: str
) -> None:
    """At the start, with what would do."""
    with pytest.raises(ValueError, match=said):
        make_settings(brand_logo=logo)


def test_a_large_logo_is_refused(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    """Each page and each email would load it."""
    file = tmp_path / "logo.png"
    file.write_bytes(b"x" * (MOST_LOGO_BYTES + 1))
    with pytest.raises(ValueError, match="1 to 200,000 bytes"):
        make_settings(brand_logo=str(file))
    file.write_bytes(b"")
    with pytest.raises(ValueError, match="1 to 200,000 bytes"):
        make_settings(brand_logo=str(file))


def test_emails_show_no_svg(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    """No mail program does; the name in letters is there in its place."""
    file = tmp_path / "logo.svg"
    file.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    logo = make_settings(brand_logo=str(file)).brand.logo
    assert logo is not None
    assert (logo.mail_url, logo.url.rpartition(".")[2]) == ("", "svg")
    logo = make_settings(brand_logo="https://example.org/logo.PNG").brand.logo
    assert logo is not None
    assert logo.mail_url == "https://example.org/logo.PNG"


@pytest.mark.parametrize(
    "address",
    [
        "example.org",
        "ftp://example.org",
        "https://u:p@example.org",
        "https://a b",
        'https://a/"',
        "https://example.org/\x7f",
        "https://example.org;x",
        "javascript:alert(1)",
        "https://exämple.org",
    ],
)
def test_what_is_no_web_address_is_refused(
    make_settings: Callable[..., Settings], address: str
) -> None:
    """It would stand in links and in headers of ours."""
    for name in ("home_url", "privacy_url", "confirmed_url", "return_urls"):
        with pytest.raises(ValueError, match=r"must (be like https|hold no user)"):
            make_settings(**{name: address})
