"""Signed mails: receivers believe them as they are, and nobody can change what is covered."""

import re
import threading
import time
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reach.mail.compose import Composer, Mail
from reach.mail.dkim import SIGNING, DkimKey
from reach.settings import BadSettings, Settings
from tests.support.messages import (
    a_composer,
    a_key,
    a_message,
    a_welcome,
    is_believed,
    lines,
    parse,
    pem,
    pem_of_another_kind,
    pem_of_mersenne_primes,
    signing,
    usual_settings,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
COVERED = (
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "Reply-To",
    "MIME-Version",
    "Content-Type",
    "Auto-Submitted",
)
SIGNATURE = re.compile(rb"\ADKIM-Signature:(?:.*\r\n)(?:[ \t].*\r\n)*")
LINK = re.compile(rb"\?token=(?:[\w.-]|=\r\n|=3D)+")


@pytest.fixture(scope="module")
def key() -> DkimKey:
    """Give a key of 2,048 bits."""
    return a_key()


@pytest.fixture(scope="module")
def composer(key: DkimKey) -> Composer:
    """Give a composer that signs with it."""
    return Composer(usual_settings(reply_to="Büro <desk@example.org>"), key)


@settings(deadline=None, max_examples=60)
@given(TEXT, TEXT)
def test_whatever_a_mail_says_it_is_believed(
    composer: Composer, key: DkimKey, name: str, words: str
) -> None:
    """In 7bit, quoted-printable and base64; the signature's own lines are short."""
    message = a_message("changed", {"fields": [f"a{words}z", f"b{name}y"]})
    mail = composer.compose(message)
    assert is_believed(mail.content, key)
    assert max(map(len, lines(mail)[:8])) <= 78


@pytest.mark.parametrize(
    "name",
    ["Ada", "Zoë", "漢字" * 40, "A" * 100, "=?utf-8?q?no?=", "a " * 49 + "b"],
    ids=["plain", "accent", "base64", "one word", "looks encoded", "folded"],
)
def test_whatever_the_subject_holds(composer: Composer, key: DkimKey, name: str) -> None:
    """Encoded words, folded lines, and those that look like them."""
    assert is_believed(composer.compose(a_welcome(name)).content, key)


def test_a_recipient_that_is_not_ascii(composer: Composer, key: DkimKey) -> None:
    """The bytes of To are covered as SMTPUTF8 carries them."""
    content = composer.compose(a_message(recipient="zoë@example.com")).content
    assert "\r\nTo: zoë@example.com\r\n".encode() in content
    assert is_believed(content, key)
    assert not is_believed(content.replace("zoë@".encode(), b"zoe@"), key)


def test_lines_that_servers_stumble_over(tmp_path: Path, key: DkimKey) -> None:
    """Lone dots, "From ", blanks at the end, empty lines at both ends, very long words."""
    texts = {
        "odd.subject": "odd",
        "odd.txt": "\n\n.\n..\nFrom here\nblank \ntab\t\n" + "x" * 2000 + "\n\n\n",
        "odd.html": "<p>.</p>\n.\n" + "<b></b>" * 300 + "\n\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    composer = Composer(usual_settings(templates_dir=tmp_path), key)
    assert is_believed(composer.compose(a_message("odd", {})).content, key)


def test_only_links_and_the_signature_differ_between_two_tries(composer: Composer) -> None:
    """What is covered is the mail as it would be unsigned; the signature comes before it."""
    unsigned = Composer(usual_settings(reply_to="Büro <desk@example.org>"))
    tries = [composer.compose(a_message()).content for _ in range(2)]
    rests = {LINK.sub(b"", SIGNATURE.sub(b"", content)) for content in tries}
    assert rests == {LINK.sub(b"", unsigned.compose(a_message()).content)}
    (signature,) = SIGNATURE.findall(tries[0])
    assert b"DKIM" not in tries[0].removeprefix(signature)


def test_what_the_signature_says(composer: Composer, key: DkimKey) -> None:
    """Whose it is, when it was made, and that each header is covered once more than it is there."""
    read = parse_signed(composer.compose(a_message()).content)
    tags = {
        name.strip(): re.sub(r"\s", "", value)
        for name, _, value in (part.partition("=") for part in read["DKIM-Signature"].split(";"))
    }
    assert abs(int(tags.pop("t")) - time.time()) < 60
    names = tags.pop("h").split(":")
    assert sorted(names) == sorted(name.lower() for name in COVERED * 2)
    assert set(tags) == {"v", "a", "c", "d", "s", "bh", "b"}
    assert (tags["v"], tags["a"], tags["c"]) == ("1", "rsa-sha256", "relaxed/relaxed")
    assert f"{tags['s']}._domainkey.{tags['d']}" == key.name == "reach1._domainkey.example.org"


@pytest.mark.parametrize("name", COVERED)
def test_a_header_that_was_changed_or_added(composer: Composer, key: DkimKey, name: str) -> None:
    """Neither another value nor a second header of the same name is believed."""
    content = composer.compose(a_message()).content
    head, end, body = content.partition(b"\r\n\r\n")
    added = f"{name}: forged <forged@example.net>\r\n".encode()
    assert is_believed(content, key)
    assert not is_believed(added + content, key)
    assert not is_believed(head + b"\r\n" + added.rstrip() + end + body, key)
    changed = re.sub(rf"(?<=\n){name}: ".encode(), f"{name}: forged ".encode(), head)
    assert changed != head
    assert not is_believed(changed + end + body, key)


def test_replies_cannot_be_led_astray(key: DkimKey) -> None:
    """A Reply-To is covered also where there is none."""
    content = Composer(usual_settings(), key).compose(a_message()).content
    assert b"\r\nReply-To:" not in content
    assert not is_believed(b"Reply-To: forged@example.net\r\n" + content, key)


def test_a_body_that_was_changed(composer: Composer, key: DkimKey) -> None:
    """One letter is enough, and so is a line more."""
    content = composer.compose(a_message()).content
    other = content.replace(b"Welcome, Ada", b"Welcome, Eve", 1)
    for forged in (other, content + b"PS: pay here\r\n"):
        assert forged != content
        assert not is_believed(forged, key)


def test_what_relays_do_to_mails(composer: Composer, key: DkimKey) -> None:
    """Headers folded otherwise, names in another case, more put before, blanks at lines' ends."""
    content = composer.compose(a_message()).content
    head, end, body = content.partition(b"\r\n\r\n")
    relayed = (
        b"Received: from reach by relay\r\n"
        + head.replace(b"\r\nFrom: ", b"\r\nFROM:\r\n ").replace(b": ", b":  ")
        + end
        + body.replace(b"\r\n", b" \r\n")
        + b"\r\n\r\n"
    )
    assert relayed != content
    assert is_believed(relayed, key)


@pytest.mark.parametrize("bits", [1024, 3072])
def test_keys_of_other_lengths(bits: int) -> None:
    """All that receivers must be able to check; also in the older form of PEM."""
    key = a_key(dkim_private_key=pem(1, bits))
    assert key.bits == bits
    assert is_believed(Composer(usual_settings(), key).compose(a_message()).content, key)
    other = a_key()
    assert not is_believed(Composer(usual_settings(), key).compose(a_message()).content, other)


def test_a_domain_above_that_of_the_sender() -> None:
    """It signs for what is below it; a long name stays in one piece."""
    long = ".".join(["x" * 60] * 3) + ".example.org"
    for domain in ("", "example.org", "EXAMPLE.org"):
        given = {"mail_from": f"hello@{long}", "dkim_domain": domain}
        key = a_key(**given)
        assert key.domain == (domain.lower() or long)
        mail = Composer(usual_settings(**given), key).compose(a_message())
        assert is_believed(mail.content, key)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no key": ({"dkim_private_key": ""}, "REACH_DKIM_PRIVATE_KEY must be set"),
    "no selector": ({"dkim_selector": ""}, "REACH_DKIM_SELECTOR must be set"),
    "domain alone": (
        {"dkim_selector": "", "dkim_private_key": "", "dkim_domain": "example.org"},
        "REACH_DKIM_SELECTOR must be set",
    ),
    "another domain": ({"dkim_domain": "example.net"}, "REACH_DKIM_DOMAIN must be"),
    "a domain below": ({"dkim_domain": "mail.example.org"}, "REACH_DKIM_DOMAIN must be"),
    "a longer name": ({"dkim_domain": "ample.org"}, "REACH_DKIM_DOMAIN must be"),
    "a top-level domain": ({"dkim_domain": "org"}, "REACH_DKIM_DOMAIN must be"),
    "an address": ({"mail_from": "hello@[192.0.2.1]"}, "make no name"),
    "a name too long": ({"dkim_selector": ".".join(["x" * 60] * 4)}, "make no name"),
    "no PEM": ({"dkim_private_key": "canary"}, "is not an RSA private key"),
    "half of it": ({"dkim_private_key": pem()[:400]}, "is not an RSA private key"),
    "public": ({"dkim_private_key": pem_of_another_kind("public")}, "is not an RSA private key"),
    "a password": (
        {"dkim_private_key": pem_of_another_kind("encrypted")},
        "is not an RSA private key",
    ),
    "no RSA": ({"dkim_private_key": pem_of_another_kind("ec")}, "is not an RSA private key"),
    "too short": ({"dkim_private_key": pem_of_mersenne_primes(127, 521)}, "1024 to 4096"),
    "too long": ({"dkim_private_key": pem_of_mersenne_primes(2203, 2281)}, "1024 to 4096"),
}


@pytest.mark.parametrize(("given", "words"), BAD.values(), ids=BAD)
def test_what_cannot_sign_is_refused(given: dict[str, Any], words: str) -> None:
    """In words that name the variable, and repeat none of the key."""
    with pytest.raises(BadSettings, match=words) as refused:
        DkimKey.of(Settings(**signing(**given)))
    assert "canary" not in str(refused.value)


def test_nobody_has_to_sign() -> None:
    """Without a selector there is no key, and no signature."""
    assert DkimKey.of(usual_settings()) is None


def parse_signed(content: bytes) -> EmailMessage:
    """Read a signed mail."""
    return parse(Mail("", "", content))


async def test_the_event_loop_goes_on_while_a_signature_is_made() -> None:
    """A thread makes it, of a mail that is the same but for the signature."""
    key, before = a_key(), set(threading.enumerate())
    composer = Composer(usual_settings(), key)
    mail = await composer.compose_beside(a_message())
    assert any(thread.name.startswith(SIGNING) for thread in set(threading.enumerate()) - before)
    assert is_believed(mail.content, key)
    unsigned = a_composer().compose(a_message())
    assert mail.content.endswith(unsigned.content)
    assert (mail.sender, mail.recipient) == (unsigned.sender, unsigned.recipient)
