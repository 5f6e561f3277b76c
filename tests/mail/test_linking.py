"""Emails carry links that work, made for their recipient when the email is composed."""

from dataclasses import replace
from gettext import NullTranslations
from pathlib import Path
from typing import Any

import pytest

from reach.auth.links import ALL, Link, Links
from reach.mail.compose import CannotCompose, Composer
from reach.mail.linking import lasts
from reach.settings import Settings
from tests.support.messages import (
    ID,
    ORIGIN,
    a_composer,
    a_message,
    contents,
    links_in,
    parse,
    usual_settings,
)

UNCONFIRMED = {"name": "Ada", "confirmed": False}
#: The links in both parts of each mail.
SCOPES: list[tuple[str, dict[str, Any], set[str]]] = [
    ("welcome", {"name": "Ada"}, {"confirm", "manage"}),
    ("already-signed-up", UNCONFIRMED, {"confirm", "manage"}),
    ("already-signed-up", {"name": "Ada", "confirmed": True}, {"manage"}),
    ("already-signed-up", {"name": "Ada"}, {"manage"}),
    ("changed", {"fields": ["name"]}, {"manage"}),
    ("manage-link", {"name": "Ada"}, {"manage"}),
    ("confirm-address", {"change": 3}, {"address"}),
    ("address-change", {"name": "Ada", "new_address": "ada@example.org"}, {"manage"}),
]


@pytest.mark.parametrize(("template", "data", "scopes"), SCOPES)
def test_each_mail_has_its_links(template: str, data: dict[str, Any], scopes: set[str]) -> None:
    """In both parts the same ones; they say how long they work. Older messages know less."""
    message = replace(a_message(template, data), links_version=3)
    composer = a_composer(link_days=1)
    text, html = contents(composer.compose(message))
    assert set(links_in(text)) == set(links_in(html))
    assert {scope for scope, _ in links_in(text)} == scopes
    assert all("24 hours" in " ".join(part.split()) for part in (text, html))
    settings = Settings(public_url=ORIGIN, secret_key="a-key-that-is-long-enough-for-tests")  # type: ignore[arg-type]  # pydantic makes it secret
    for scope, token in links_in(text):
        assert Links(settings).read(token) == Link(ID, scope, 3)  # type: ignore[arg-type]  # a word


@pytest.mark.parametrize("scope", ["manage", "confirm", "address"])
def test_who_may_be_a_stranger_gets_no_link_to_the_record(scope: str, tmp_path: Path) -> None:
    """Whatever an operator's template says: that email goes to an address nobody said yes at."""
    for kind in ("subject", "txt", "html"):
        for name in ("confirm-address", "address-changed", "welcome"):
            (tmp_path / f"{name}.{kind}").write_text("Hello")
    allowed = {"confirm-address": {"address"}, "welcome": {"manage", "confirm"}}
    for name in ("confirm-address", "address-changed", "welcome"):
        (tmp_path / f"{name}.txt").write_text(f"{{{{ link('{scope}') }}}}")
        message = a_message(name, {"name": "Ada", "change": 3})
        composer = a_composer(templates_dir=tmp_path)
        if scope in allowed.get(name, ()):
            assert [found for found, _ in links_in(contents(composer.compose(message))[0])] == [
                scope
            ]
        else:
            with pytest.raises(CannotCompose, match="there is no such link"):
                composer.compose(message)


@pytest.mark.parametrize("number", [None, "3", 3.0, True, []])
def test_a_link_to_a_new_address_is_for_a_change(number: object) -> None:
    """What an operator promises without one fails, and says why."""
    data = {} if number is None else {"change": number}
    with pytest.raises(CannotCompose, match="it is for a change of address"):
        a_composer().compose(a_message("confirm-address", data))


def test_who_may_stop_an_email_has_links_for_it(tmp_path: Path) -> None:
    """In its headers, whatever its words are; by one request over https alone. Others have none."""
    for kind in ("subject", "txt", "html"):
        (tmp_path / f"news.{kind}").write_text("News")
        (tmp_path / f"receipt.{kind}").write_text("Paid")
    own = {"templates_dir": tmp_path, "unsubscribe_templates": "news"}
    composer = a_composer(**own)
    news = replace(a_message("news"), is_unsubscribed=False)
    (header,) = parse(composer.compose(news)).get_all("List-Unsubscribe", [])
    (found,) = links_in(header)
    assert header == f"<{ORIGIN}/unsubscribe?token={found[1]}>"
    settings = usual_settings(link_days=0.001)
    assert Links(settings).read(found[1]) == Link(ID, "unsubscribe", ALL)
    posts = {True: ["List-Unsubscribe=One-Click"], False: []}
    for is_https, said in posts.items():
        url = ORIGIN if is_https else "http://127.0.0.1:8000"
        read = parse(a_composer(**own, public_url=url).compose(news))
        assert read.get_all("List-Unsubscribe-Post", []) == said
    with pytest.raises(CannotCompose, match="has unsubscribed"):
        composer.compose(replace(news, is_unsubscribed=True))
    other = composer.compose(replace(a_message("receipt"), is_unsubscribed=True))
    assert not [name for name in parse(other) if name.startswith("List-")]
    (tmp_path / "receipt.txt").write_text("{{ link('unsubscribe') }}")
    with pytest.raises(CannotCompose, match="REACH_UNSUBSCRIBE_TEMPLATES does not name"):
        composer.compose(a_message("receipt"))


def test_a_button_has_its_address_beside_it() -> None:
    """For mail programs that show no HTML, or no button: it stands there as text, too."""
    html = contents(a_composer().compose(a_message()))[1]
    (confirm,) = {token for scope, token in links_in(html) if scope == "confirm"}
    address = f"{ORIGIN}/confirm?token={confirm}"
    assert html.count(f'href="{address}"') == 2
    assert f">{address}</a></p>" in html


def test_a_message_that_nobody_leased_has_no_links() -> None:
    """What its links' version is, is not known: better no mail than one with dead links."""
    with pytest.raises(CannotCompose, match=r"welcome.txt, line \d+: .* once it is leased"):
        a_composer().compose(replace(a_message(), links_version=None))


def test_a_notice_has_no_links(tmp_path: Path) -> None:
    """Not in a template of the maker's own either: they would open somebody else's record."""
    (tmp_path / "notice.txt").write_text("{{ link('manage') }}")
    data = {"count": 1, "total": 1, "person": None, "since": "2026-03-04T05:06:07+00:00"}
    notice = replace(a_message("notice", data), links_version=3)
    with pytest.raises(CannotCompose, match="a notice has none"):
        a_composer(templates_dir=tmp_path).compose(notice)


def test_without_a_key_there_are_no_links() -> None:
    """It is said in the message's last error; what has no links can be sent."""
    composer = Composer(Settings(public_url=ORIGIN))
    with pytest.raises(CannotCompose, match="REACH_SECRET_KEY"):
        composer.compose(a_message())


@pytest.mark.parametrize(
    ("days", "words"),
    [
        (7, "7 days"),
        (366, "366 days"),
        (2.9, "2 days"),
        (1.5, "36 hours"),
        (1, "24 hours"),
        (1 / 24, "60 minutes"),
        (1e-6, "a minute"),
    ],
)
def test_a_time_in_words_is_never_too_long(days: float, words: str) -> None:
    """Whole units, rounded down."""
    assert lasts(days * 86_400, NullTranslations()) == words
