"""What the mail server is given: the headers promised, and parts that arrive as meant."""

import re
from dataclasses import replace
from datetime import timedelta, timezone
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reach.auth.return_path import Forged, ReturnPaths
from reach.db.types import new_id
from reach.mail.compose import CannotCompose, Composer
from reach.settings import Settings
from tests.support.messages import (
    CREATED_AT,
    ID,
    a_composer,
    a_message,
    a_welcome,
    contents,
    foldable,
    parse,
    usual_settings,
)

HEADERS = [
    "Message-ID",
    "Date",
    "From",
    "To",
    "Subject",
    "Content-Language",
    "Auto-Submitted",
    "X-Reach-Message",
    "MIME-Version",
    "Content-Type",
]


@pytest.fixture(scope="module")
def composer() -> Composer:
    """Give a composer with usual settings."""
    return a_composer()


def test_a_mail_has_these_headers_and_no_others(composer: Composer) -> None:
    """Every header is there once, in a fixed order, with the values promised."""
    mail = composer.compose(a_message())
    read = parse(mail)
    assert read.keys() == HEADERS
    assert (mail.sender, mail.recipient) == ("hello@example.org", "ada@example.com")
    assert read["Message-ID"] == f"<{ID}@example.org>"
    assert read["Date"].datetime == CREATED_AT.replace(microsecond=0)
    assert read["From"] == "Reach <hello@example.org>"
    assert read["To"] == "ada@example.com"
    assert read["Subject"] == "Welcome to Reach, Ada"
    assert read["Content-Language"] == "en"
    assert read["Auto-Submitted"] == "auto-generated"
    paths = ReturnPaths(usual_settings(return_path="bounces@mail.example.org"))
    assert paths.read(read["X-Reach-Message"]) == ID
    assert read["MIME-Version"] == "1.0"
    assert [part.get_content_type() for part in read.walk()] == [
        "multipart/alternative",
        "text/plain",
        "text/html",
    ]
    assert [part.get_content_charset() for part in read.iter_parts()] == ["utf-8"] * 2


def test_each_mail_has_a_return_path_of_its_own() -> None:
    """Signed, so that what comes back there is about this message, and nobody else's."""
    composer = a_composer(return_path="bounces@mail.example.org")
    one, other = composer.compose(a_message()), composer.compose(replace(a_message(), id=new_id()))
    paths = ReturnPaths(usual_settings(return_path="bounces@mail.example.org"))
    assert one.sender.startswith("bounces+")
    assert len(one.sender.partition("@")[0]) <= 64
    assert paths.read_address(one.sender.upper()) == ID
    assert paths.read_address(other.sender) != ID
    with pytest.raises(Forged):
        paths.read_address(one.sender.replace("+", "+a", 1))


def test_postmark_is_told_the_name_in_a_header_that_it_repeats() -> None:
    """In its webhooks, where it tells of nothing else that we wrote."""
    read = parse(
        a_composer(bounces_postmark_secret="a-secret-made-up-for-tests").compose(a_message())
    )
    assert read["X-PM-Metadata-X-Reach-Message"] == read["X-Reach-Message"]


def test_the_date_is_written_in_utc(composer: Composer) -> None:
    """Whatever zone the database's driver gives, the header is the same."""
    elsewhere = CREATED_AT.astimezone(timezone(timedelta(hours=-7)))
    mail = composer.compose(a_message(created_at=elsewhere))
    assert b"\r\nDate: Wed, 04 Mar 2026 05:06:07 +0000\r\n" in mail.content


def test_replies_go_where_the_settings_say() -> None:
    """Reply-To is there if it is set, with its display name."""
    read = parse(a_composer(reply_to="Büro <desk@example.org>").compose(a_message()))
    assert read["Reply-To"].addresses[0].display_name == "Büro"
    assert read["Reply-To"].addresses[0].addr_spec == "desk@example.org"
    assert read.keys() == [*HEADERS[:4], "Reply-To", *HEADERS[4:]]


@pytest.mark.parametrize(
    ("template", "data"),
    [
        ("welcome", {"name": "Ada"}),
        ("welcome", {"name": "José Ñandú"}),
        ("welcome", {"name": "漢字" * 50}),
        ("already-signed-up", {"name": "Ada"}),
        ("already-signed-up", {"name": "Zoë " * 25}),
        ("changed", {"fields": ["name", "description"]}),
    ],
)
def test_parts_are_what_the_standard_library_would_make(
    composer: Composer, template: str, data: dict[str, Any]
) -> None:
    """``EmailMessage`` given what was read reads the same; it too calls them by these types."""
    mail = composer.compose(a_message(template, data))
    text, html = contents(mail)
    reference = EmailMessage()
    reference.set_content(text)
    reference.add_alternative(html, subtype="html")
    for ours, theirs in zip(parse(mail).iter_parts(), reference.iter_parts(), strict=True):
        assert ours.get_content_type() == theirs.get_content_type()
        assert ours.get_content().replace("\r\n", "\n") == theirs.get_content()


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
def test_a_text_part_carries_any_text(composer: Composer, words: str) -> None:
    """Trailing blanks, dots, NUL, long lines: all arrive, in lines of 78; links stay whole."""
    mail = composer.compose(a_message("changed", {"fields": [f"a{words}z"]}))
    expected = re.sub("\r\n?", "\n", f"\n\n- a{words}z\n\n")
    assert expected in contents(mail)[0]
    assert mail.content.isascii()
    assert b"\x00" not in mail.content
    assert max(map(len, foldable(mail))) <= 78


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("Ada", "7bit"),
        ("José", "quoted-printable"),
        ("A" * 100, "quoted-printable"),
        ("漢" * 100, "base64"),
    ],
)
def test_each_part_has_the_plainest_encoding_that_carries_it(
    tmp_path: Path, name: str, encoding: str
) -> None:
    """Who reads the source of a mail of short lines can read it."""
    (tmp_path / "welcome.txt").write_text("Hello {{ name }},\nwelcome!\n")
    text = next(parse(a_composer(templates_dir=tmp_path).compose(a_welcome(name))).iter_parts())
    assert text["Content-Transfer-Encoding"] == encoding


def test_a_blank_at_a_line_end_survives(composer: Composer) -> None:
    """Mail servers may drop it from quoted-printable's source: it is encoded."""
    text = contents(composer.compose(a_message("changed", {"fields": ["é \t\nx"]})))[0]
    assert "- é \t\nx\n" in text


def test_composing_again_gives_the_same_bytes(composer: Composer) -> None:
    """A duplicate can be known as one: by another process, and after a restart, too."""
    message = a_welcome("José 漢字 🎉")
    assert a_composer().compose(message) == composer.compose(message)


def test_a_boundary_is_in_no_part(tmp_path: Path) -> None:
    """What was typed cannot end a part: the boundary gives way to it."""
    (tmp_path / "changed.txt").write_text("{{ fields | join }}")
    boundaries = [f"=_{ID.hex}_{number}" for number in range(3)]
    composer = a_composer(templates_dir=tmp_path)
    mail = composer.compose(a_message("changed", {"fields": [f"\n--{b}--\n" for b in boundaries]}))
    assert parse(mail).get_boundary() == f"=_{ID.hex}_3"
    assert all(boundary in contents(mail)[0] for boundary in boundaries)


def test_a_mail_does_not_show_itself(composer: Composer) -> None:
    """No address, name or subject can get into a log by way of a repr."""
    assert not re.search(r"[Aa]da|Reach,|@", repr(composer.compose(a_message())))


@pytest.mark.parametrize("data", [[], "name", 1, ["name"]])
def test_data_that_do_not_fit_fail_alone(composer: Composer, data: Any) -> None:
    """A message whose data are no mapping cannot be composed; the next one can."""
    with pytest.raises(CannotCompose, match="data"):
        composer.compose(a_message(data=data))
    assert composer.compose(a_message()).content


def test_message_ids_carry_the_senders_domain() -> None:
    """The domain is that of the address, whatever the display name holds."""
    assert (
        Settings(mail_from='"a@b.example" <hello@mail.example.org>').mail_domain
        == "mail.example.org"
    )
