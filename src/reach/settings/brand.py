"""The brand: whose name, logo and colour pages and emails have.

A colour is made fit to be read: contrast is that of WCAG 2.2 (1.4.3), 4.5 at least for all text, on
light and on dark pages.
"""

import re
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from reach.settings.urls import parse_web_address

#: Red, green and blue, 0 to 255.
Rgb = tuple[int, int, int]

COLOR = re.compile(r"#[0-9A-Fa-f]{6}")
DEFAULT_COLOR = "#2457d6"
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
#: What stands behind text on a light and on a dark page, as reach.css has it: the page and a chosen
#: row, of which one is the worst for each text.
LIGHT, DARK = ("#f4f5f8", "#ffffff"), ("#1d222c", "#12151b")
LEAST_CONTRAST = 4.5
#: Up to here, of 1, light grows in proportion (IEC 61966-2-1).
NEARLY_BLACK = 0.04045

#: What a logo's file may be, by its ending.
LOGO_TYPES = {
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
}
#: Every page loads it, and every reader of an email.
MOST_LOGO_BYTES = 200_000
#: Mail programs show no SVG.
NOT_IN_MAIL = ".svg"


def parse_color(text: str) -> Rgb:
    """Read ``#2457d6``. Raises ValueError."""
    if not COLOR.fullmatch(text):
        raise ValueError("must be a colour like #2457d6")
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def written(color: Rgb) -> str:
    """Write a colour as CSS does."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def luminance(color: Rgb) -> float:
    """Give the relative luminance, 0 to 1 (WCAG 2.2)."""
    parts = (value / 255 for value in color)
    red, green, blue = (
        part / 12.92 if part <= NEARLY_BLACK else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: Rgb, other: Rgb) -> float:
    """Give the contrast ratio of two colours, 1 to 21 (WCAG 2.2)."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def mixed(color: Rgb, towards: Rgb, percent: int) -> Rgb:
    """Mix a colour with another."""
    red, green, blue = (
        round(a + (b - a) * percent / 100) for a, b in zip(color, towards, strict=True)
    )
    return red, green, blue


def readable(color: Rgb, behind: tuple[str, ...], towards: Rgb) -> Rgb:
    """Give the nearest colour in one direction that can be read on all that is behind it."""
    backs = [parse_color(back) for back in behind]
    shades = (mixed(color, towards, percent) for percent in range(101))
    return next(
        shade for shade in shades if min(contrast(shade, b) for b in backs) >= LEAST_CONTRAST
    )


@dataclass(frozen=True, slots=True)
class Shades:
    """A brand's colour on a light or on a dark page; as CSS writes colours.

    ``fill`` is a button's, ``on_fill`` the text's on it, ``text`` that of links; ``strong`` is what
    a button becomes under the pointer.
    """

    fill: str
    on_fill: str
    strong: str
    text: str

    @classmethod
    def of(cls, color: Rgb, behind: tuple[str, ...], towards: Rgb) -> "Shades":
        """Make them of one colour; what is not to be read as it is, is made lighter or darker."""
        on_fill = max(WHITE, BLACK, key=lambda one: min(contrast(one, color), LEAST_CONTRAST))
        away = BLACK if on_fill == WHITE else WHITE
        return cls(
            written(color),
            written(on_fill),
            written(mixed(color, away, 16)),
            written(readable(color, behind, towards)),
        )


@dataclass(frozen=True, slots=True)
class Logo:
    """A brand's picture. ``content`` is that of a file, which Reach serves itself."""

    url: str
    name: str = ""
    content: bytes = field(default=b"", repr=False)

    @classmethod
    def parse(cls, text: str, origin: str) -> "Logo":
        """Take a URL as it is, or read a file. Raises ValueError."""
        if text.startswith(("https://", "http://")):
            return cls(parse_web_address(text))
        file = Path(text)
        if file.suffix.lower() not in LOGO_TYPES:
            raise ValueError(f"must be a URL, or a file that ends in {', '.join(LOGO_TYPES)}")
        try:
            content = file.read_bytes()
        except OSError as error:
            raise ValueError(f"cannot be read: {error.strerror}") from None
        if not 0 < len(content) <= MOST_LOGO_BYTES:
            raise ValueError(f"must have 1 to {MOST_LOGO_BYTES:,} bytes")
        name = f"logo-{sha256(content).hexdigest()[:12]}{file.suffix.lower()}"
        return cls(f"{origin}/static/{name}", name, content)

    @property
    def mail_url(self) -> str:
        """Where emails have it from; empty if mail programs could not show it."""
        return "" if urlsplit(self.url).path.lower().endswith(NOT_IN_MAIL) else self.url

    @property
    def origin(self) -> str:
        """Whose picture pages must be allowed to load, beside our own; empty if it is ours."""
        parts = urlsplit(self.url)
        return "" if self.content else f"{parts.scheme}://{parts.netloc}"


@dataclass(frozen=True)
class Brand:
    """What pages and emails show of whom they speak for; texts are empty if there is nothing."""

    name: str
    color: str = DEFAULT_COLOR
    logo: Logo | None = None
    intro: str = ""
    home_url: str = ""
    privacy_url: str = ""
    postal_address: str = ""

    @cached_property
    def light(self) -> Shades:
        """The colour on light pages."""
        return Shades.of(parse_color(self.color), LIGHT, BLACK)

    @cached_property
    def dark(self) -> Shades:
        """The colour on dark pages, where it is what links have: a fill that would hurt no eyes."""
        color = readable(parse_color(self.color), DARK, WHITE)
        return Shades.of(color, DARK, WHITE)
