"""Headers arrive as they were meant, and nothing can add, end or fold one."""

import re
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.utils import parseaddr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reach.mail.compose import CannotCompose, Composer
from reach.people.text import clean_name
from reach.settings import BadSettings
from tests.support.messages import (
    a_composer,
    a_message,
    a_welcome,
    contents,
    foldable,
    parse,
    parse_old,
)

FORBIDDEN = [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, 0xD800, 0xDBFF, 0xDC00, 0xDFFF]
LOOKALIKES = [
    "=?utf-8?q?x?=",
    "=?utf-8?b?QQ==?=",
    "Ada =?us-ascii?q?x?= L",
    "é=?utf-8?q?x?=",
    "=?= ?=",
    "=?",
]


def is_name(text: str) -> bool:
    """Whether a sign-up takes a name."""
    try:
        return clean_name(text) == text
    except ValueError:
        return False


NAMES = st.one_of(
    st.text(
        st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp", "Cn", "Co")),
        min_size=1,
        max_size=100,
    ),
    st.text(min_size=1, max_size=100, alphabet="Aa =?_-qQbB.,\"<>()\\':;éß漢🎉\u0301\u200d\u00a0"),
    st.text(min_size=60, max_size=100, alphabet="a b"),
).filter(is_name)


@pytest.fixture(scope="module")
def composer() -> Composer:
    """Give a composer with usual settings."""
    return a_composer()


@pytest.mark.parametrize(
    "display",
    ["Reach", "Reach, Inc.", 'The "Reach"', "Größe 漢字", "=?utf-8?q?x?=", "R" * 200, "é" * 90],
)
def test_the_sender_is_named_as_configured(display: str) -> None:
    """Any display name arrives as it was set, and no line is long for it."""
    quoted = '"' + display.replace('"', '\\"') + '"'
    mail = a_composer(mail_from=f"{quoted} <hello@example.org>").compose(a_message())
    name, address = parseaddr(parse_old(mail)["From"])
    assert (str(make_header(decode_header(name))), address) == (display, "hello@example.org")
    assert parse(mail)["From"].addresses[0].addr_spec == "hello@example.org"
    assert max(map(len, foldable(mail))) <= 78


@settings(deadline=None)
@given(NAMES)
def test_any_name_a_sign_up_takes_arrives(composer: Composer, name: str) -> None:
    """In the subject and in both parts, with no line over 78 but links, and no byte over 7 bits."""
    mail = composer.compose(a_welcome(name))
    read = parse(mail)
    one_line = "Welcome to Reach, " + re.sub(" +", " ", name)
    assert len(read.keys()) == 10
    assert read["Subject"] == one_line
    old = parse_old(mail)
    assert old.keys() == read.keys()
    assert str(make_header(decode_header(old["Subject"]))) == one_line
    text, html = contents(mail)
    assert text.startswith(f"Welcome, {name}\n")
    assert "<bdi>" in html
    assert mail.content.isascii()
    assert all(len(line) <= 78 for line in foldable(mail))
    words = re.findall(r"=\?utf-8\?[qb]\?[^?]*\?=", mail.content.decode())
    assert all(len(word) <= 75 for word in words)


@pytest.mark.parametrize("name", LOOKALIKES)
def test_what_looks_like_an_encoded_word_arrives_literally(composer: Composer, name: str) -> None:
    """A name cannot make its reader's program decode anything."""
    assert parse(composer.compose(a_welcome(name)))["Subject"] == f"Welcome to Reach, {name}"


def test_a_long_subject_of_short_words_stays_readable(composer: Composer) -> None:
    """It is folded between words rather than encoded."""
    name = " ".join(["Ada"] * 25)
    mail = composer.compose(a_welcome(name))
    assert parse(mail)["Subject"] == f"Welcome to Reach, {name}"
    assert b"=?" not in mail.content
    assert b"\r\nSubject: Welcome to Reach, Ada Ada" in mail.content


@pytest.mark.parametrize("code", FORBIDDEN)
@pytest.mark.parametrize("place", ["start", "middle", "end"])
def test_no_name_can_end_a_header(composer: Composer, code: int, place: str) -> None:
    """A line break, control character or half character is refused wherever it stands."""
    name = {"start": "{}Ada", "middle": "Ada{}Bcc: eve@example.net", "end": "Ada{}"}[place]
    with pytest.raises(CannotCompose, match=r"welcome\.subject, line 1: a header must not hold"):
        composer.compose(a_welcome(name.format(chr(code))))


@pytest.mark.parametrize(
    "recipient",
    [
        *(f"ada{chr(code)}@example.com" for code in FORBIDDEN),
        "ada@example.com\r\nBcc: eve@example.net",
        "ada@example.com\n",
        "ada@example.com, eve@example.net",
        "ada@example.com,eve@example.net",
        "Ada <ada@example.com>",
        "<ada@example.com>",
        "everybody: ada@example.com;",
        "ada(comment)@example.com",
        '"ada lovelace"@example.com',
        "ada @example.com",
        "ada\u3000@example.com",
        "ada@exa@mple.com",
        "ada@" + "x" * 254,
        "a" * 65 + "@example.com",
        # 66 octets before the @, of 33 letters; 255 in all.
        "é" * 33 + "@example.com",
        "é" * 32 + "@" + "d" * 190,
        "ada",
        "",
    ],
)
def test_a_recipient_is_one_plain_address(composer: Composer, recipient: str) -> None:
    """Nothing but one address gets into To."""
    with pytest.raises(CannotCompose, match=r"recipient is not one plain|must not hold"):
        composer.compose(a_message(recipient=recipient))


@pytest.mark.parametrize(
    "message_id", ["", "x@y", "<x@y>\r\nBcc: <z@y>", "<x y@z>", "<x@y> <z@y>", "<é@y>"]
)
def test_a_message_id_is_one_id(composer: Composer, message_id: str) -> None:
    """Nothing but one id gets into Message-ID."""
    with pytest.raises(CannotCompose, match="Message-ID"):
        composer.compose(a_message(message_id=message_id))


def test_the_longest_recipients_have_lines_that_mail_servers_take(composer: Composer) -> None:
    """998 octets is RFC 5322's limit (§2.1.1), which is of bytes, whatever the letters are."""
    for local in ("a" * 64, "é" * 32, "\U00020000" * 16):
        recipient = f"{local}@{'.'.join(['d' * 62] * 3)}"
        mail = composer.compose(a_message(recipient=recipient, data={"name": local * 100}))
        assert f"To: {recipient}\r\n".encode() in mail.content
        assert max(map(len, mail.content.split(b"\r\n"))) <= 998


def test_a_recipient_that_is_not_ascii_stands_as_it_is(composer: Composer) -> None:
    """RFC 6532: To holds UTF-8, and nothing else of the mail does."""
    mail = composer.compose(a_message(recipient="renée@example.com"))
    head, _, rest = mail.content.partition("To: renée@example.com\r\n".encode())
    assert mail.recipient == "renée@example.com"
    assert rest.isascii()
    assert head.isascii()
    read = message_from_bytes(mail.content, policy=policy.default.clone(utf8=True))
    assert not read.defects


@pytest.mark.parametrize("brand", ["A\nB", "A\u2028B", "A\x00"])
def test_a_brand_name_that_would_break_headers_is_refused_at_start(brand: str) -> None:
    """Rather than fail every message later."""
    with pytest.raises(BadSettings, match="REACH_BRAND_NAME"):
        a_composer(brand_name=brand)


@pytest.mark.parametrize("name", ["mail_from", "reply_to"])
@pytest.mark.parametrize("address", [f"hello@{'example.' * 40}org", f"{'h' * 65}@example.org"])
def test_an_address_too_long_for_a_header_is_refused_at_start(name: str, address: str) -> None:
    """RFC 5321 §4.5.3.1 ends them at 254, and at 64 before the @; a header's line at 998."""
    with pytest.raises(BadSettings, match="too long"):
        a_composer(**{name: address})
