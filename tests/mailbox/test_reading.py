"""Reading mail for people, whatever it is made of."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reach.mailbox.reading import Reading, read
from reach.mailbox.server import Mailbox

NESTED = b"".join(
    b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(2000)
)
HOSTILE = {
    "empty": b"",
    "no headers": b"\r\njust text\r\n",
    "no empty line": b"Subject: only headers",
    "no header at all": b"neither headers nor anything else",
    "8-bit subject": b"Subject: caf\xe9 \xff\xfe\r\n\r\n\xff",
    "UTF-8 subject": "Subject: café\r\n\r\n".encode(),
    "broken base64": b"Subject: =?utf-8?b?a?=\r\n\r\n",
    "unknown charset": b"Subject: =?klingon?q?x?=\r\nContent-Type: text/plain; charset=kl\r\n\r\nq",
    "odd charsets": b"Subject: =?utf-7?q?+2AA-?= =?idna?q?x?= =?unicode_escape?q?\\ud800?=\r\n\r\n",
    "charset with NUL": b'Content-Type: text/plain; charset="a\0b"\r\n\r\nq',
    "not text": b"Content-Type: text/plain; charset=rot13\r\n\r\nq",
    "half an escape": b"Subject: \\u12 =?utf-8?q?x?= \\ud800\r\n\r\n",
    "half surrogate": b"Content-Type: text/plain; charset=utf-7\r\n\r\n+2AA-",
    "NUL": b"Subject: a\0b\r\nTo: \0\r\n\r\n\0",
    "huge header": b"Subject: " + b"x" * 900_000 + b"\r\n\r\n",
    "many headers": b"X: y\r\n" * 100_000 + b"\r\n",
    "slow words": (b"Subject: " + b"=?a?q?" * 150 + b"\r\n " + b"=?a?q?" * 150 + b"\r\n") * 500,
    "broken MIME": b"Content-Type: multipart/alternative; boundary=x\r\n\r\n--x\r\nContent-T",
    "no boundary": b"Content-Type: multipart/mixed\r\n\r\n--x\r\n",
    "bad parameter": b"Content-Type: text/plain; charset*" + b"9" * 5000 + b"=x\r\n\r\nq",
    "bad disposition": b"Content-Disposition: attachment; a*0*=''%\r\n\r\nq",
    "uuencoded": b"Content-Transfer-Encoding: x-uuencode\r\n\r\nbegin 644 x\r\n\xff",
    "deeply nested": NESTED + b"a\r\n" * 200_000,
    "slowly nested": b"".join(NESTED.splitlines(keepends=True)[:750]) + b"a\r\n" * 300_000,
    "mail in mail": b"Content-Type: message/rfc822\r\n\r\n" * 20_000,
}


def is_plain(value: object) -> bool:
    """Whether a value can be answered as JSON in UTF-8."""
    json.dumps(value, ensure_ascii=False).encode("utf-8")
    return True


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_mail_can_be_listed_and_read(content: bytes, tmp_path: Path) -> None:
    """No mail makes the list fail, or its own page, or takes long, or outlives a restart worse."""
    mailbox = Mailbox(tmp_path)
    started = time.process_time()
    mailbox.put(content)
    (entry,) = mailbox.list()
    assert is_plain([entry.to, entry.subject])
    reading = mailbox.read(entry.id)
    assert is_plain([reading.headers, reading.text, reading.html])
    assert time.process_time() - started < 5
    assert mailbox.raw(entry.id) == content
    assert Mailbox(tmp_path).list() == [entry]


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_no_bytes_break_reading(head: bytes, body: bytes) -> None:
    """Whatever a mail's type and words are, there is something to show."""
    content = b"Subject: =?" + head + b"\r\nContent-Type: text/plain; " + head + b"\r\n\r\n" + body
    reading = read(content)
    assert is_plain([reading.headers, reading.text, reading.html])


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"plain  spaced", "plain  spaced"),
        (b"folded\r\n over\r\n\tlines", "folded over\tlines"),
        (b"=?utf-8?q?Zo=C3=AB?= =?utf-8?q?_and?= Ada", "Zoë and Ada"),
        (b"=?iso-8859-1?q?Zo=EB?=", "Zoë"),
        ("Zoë".encode(), "Zoë"),
        (b"caf\xe9", "caf\N{REPLACEMENT CHARACTER}"),
        (b"=?utf-8?b?a?=", "a"),
        (b"=?klingon?q?x?=", "x"),
    ],
)
def test_headers_are_shown_decoded(raw: bytes, shown: str) -> None:
    """A header reads as its writer meant it, as far as can be told."""
    assert read(b"Subject: " + raw + b"\r\n\r\n").headers == [("Subject", shown)]


def test_headers_keep_order_and_repeats() -> None:
    """Nothing that a mail says is merged or left out."""
    headers = read(b"B: 1\r\nA: 2\r\nb: 3\r\n\r\nC: body").headers
    assert headers == [("B", "1"), ("A", "2"), ("b", "3")]


def test_attachments_are_not_the_text() -> None:
    """The text is what the sender wrote to be read, not a file that happens to be text."""
    raw = (
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n"
        b"--x\r\nContent-Type: text/plain\r\nContent-Disposition: attachment\r\n\r\nfile\r\n"
        b"--x\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\ncaf\xe9\r\n"
        b"--x\r\nContent-Type: text/plain\r\n\r\nlater\r\n--x--\r\n"
    )
    assert read(raw).text == "café"
    assert read(raw).html is None


def test_what_cannot_be_parsed_is_shown_as_it_came() -> None:
    """A mail made to be hard to parse is still there to see."""
    assert read(NESTED) == Reading(
        headers=[("Content-Type", "multipart/mixed; boundary=b0")], text=NESTED.decode(), html=None
    )
