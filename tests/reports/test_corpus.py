"""What mail servers and providers write is read as they mean it.

``corpus`` holds what Postfix, Exim and OpenSMTPD wrote (``python -m tests.support.reports`` lets
them write it again), and what others write, made up (``made-…``). Its TOML files say what is to be
read in each.
"""

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from time import process_time

from hypothesis import given, settings
from hypothesis import strategies as st

from reach.auth.return_path import CHARACTERS
from reach.reports.ids import kinds
from reach.reports.model import CATEGORIES, KINDS, TEXT_CHARACTERS
from reach.reports.reading import SORTS, Reading, read

CORPUS = Path(__file__).with_name("corpus")
REPLIES = tomllib.loads((CORPUS / "replies.toml").read_text(encoding="utf-8"))
EXPECTED = {
    name: expected
    for file in sorted(CORPUS.glob("*.toml"))
    if file.stem != "replies"
    for name, expected in tomllib.loads(file.read_text(encoding="utf-8")).items()
}
MAILS = {file.stem: file.read_bytes() for file in sorted(CORPUS.glob("*.eml"))}
#: Whose the message is, in each email of the corpus: made up, or one of the cases'.
TOKEN = re.compile(rf"(?:mjqwgzdfm|([a-j]{{2}})\1)[a-z2-7]{{{CHARACTERS - 9},{CHARACTERS - 4}}}")
ID = re.compile("<01a20aee-6a2b-7c11-9d0e-5b7f3f2f9a[0-9a-f]{2}@mail.example.org>")
#: In the body of every email that the servers got.
SECRET = "a-secret-of-one-person"


def told(reading: Reading) -> list[str]:
    """Write what was read as the TOML files do."""
    if reading.report is None:
        return [reading.sort, ""]
    clues = reading.report.clues
    return [
        reading.sort,
        " ".join(kinds(clues)),
        *(
            " ".join(str(part or "-") for part in verdict)
            for verdict in (
                (one.kind, one.category, one.recipient, one.smtp_code, one.enhanced_code)
                for one in reading.report.verdicts
            )
        ),
    ]


def faults(reading: Reading) -> Iterator[str]:
    """What no reading may be, whatever the email was."""
    if reading.sort not in SORTS:
        yield "sort"
    if reading.report is None:
        return
    if not reading.report.verdicts or reading.report.source != reading.sort:
        yield "report"
    for one in reading.report.verdicts:
        if one.kind not in KINDS or (one.category or CATEGORIES[0]) not in CATEGORIES:
            yield "words"
        if (one.category is None) != (one.kind in {"delivered", "complained"}):
            yield "category"
        addresses = [text for text in (one.recipient, one.original_recipient) if text is not None]
        if any("@" not in text or len(text) > 320 for text in addresses):
            yield "address"
        if len(one.text) > TEXT_CHARACTERS or not one.text.isprintable():
            yield "text"
    ids = reading.report.clues.ids
    if len(ids) > 24 or any(not text.isprintable() or len(text) > 252 for text in ids):
        yield "ids"


def test_every_email_is_read_as_it_is_meant() -> None:
    """Its sort, the clues that lead to the message, and the verdict on each recipient."""
    assert set(EXPECTED) == set(MAILS)
    assert len([name for name in MAILS if not name.startswith("made-")]) > 50
    wrong = {
        name: (found, expected)
        for name, expected in EXPECTED.items()
        if (found := told(read(MAILS[name]))) != expected
    }
    assert wrong == {}


REPORT = """\
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: text/plain

It could not be delivered.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.net

Final-Recipient: rfc822; ada@example.net
Action: failed
Status: {status}
Diagnostic-Code: {diagnostic}
--b--
"""


def test_every_reply_is_judged_as_it_is_meant() -> None:
    """What big providers say, in a report that says no more."""
    wrong = {}
    for name, (diagnostic, status, expected) in REPLIES.items():
        mail = REPORT.format(diagnostic=diagnostic, status=status)
        found = told(read(mail.encode()))[-1].replace(" ada@example.net", "")
        if found != expected:
            wrong[name] = (found, expected)
    assert wrong == {}


def test_the_clues_are_those_of_the_message() -> None:
    """Not of another email that is named: the return path, our header, then our Message-ID."""
    for name, content in MAILS.items():
        report = read(content).report
        for clue in kinds(report.clues) if report else ():
            assert report is not None
            if clue == "return-path":
                assert TOKEN.search((report.clues.return_path or "").lower()), name
            if clue == "token":
                assert TOKEN.fullmatch(report.clues.ids[0]), name
            if clue == "message-id":
                of_ours = [one for one in report.clues.ids if ID.fullmatch(one)]
                assert of_ours, name
                assert all(report.clues.ids.index(one) < 2 for one in of_ours), name
        if "several" in name or "references" in name:
            assert report is not None


def test_who_is_asked_what_the_mail_was_sent_to_is_believed() -> None:
    """The intake knows to whom; what headers say comes after, unless only that is signed."""
    mail = MAILS["made-nothing-returned"]
    other = f"bounces+{'b' * CHARACTERS}@mail.example.org"
    for recipient, path in ((other, other), ("bounces@mail.example.org", None), (None, None)):
        report = read(mail, recipient).report
        assert report is not None
        found = report.clues.return_path or ""
        assert found == path if path else TOKEN.search(found)


def test_nothing_of_the_message_is_kept() -> None:
    """Neither its body, with what one person alone may know, nor its subject."""
    with_secret = [content for content in MAILS.values() if SECRET.encode() in content]
    assert len(with_secret) > 10
    for content in with_secret:
        report = read(content).report
        assert report is not None
        assert SECRET not in str(asdict(report))
        assert "@" not in repr(read(content))


def mutated(draw: st.DrawFn) -> bytes:
    """Change an email of the corpus: parts of it and of others, and a few octets."""
    names = st.sampled_from(sorted(MAILS))
    one, two = MAILS[draw(names)], MAILS[draw(names)]
    cut = draw(st.integers(0, len(one)))
    mail = bytearray(one[:cut] + two[draw(st.integers(0, len(two))) :])
    for place in draw(st.lists(st.integers(0, max(len(mail) - 1, 0)), max_size=8)):
        if mail:
            mail[place] = draw(st.integers(0, 255))
    return bytes(mail)


@given(st.one_of(st.binary(max_size=400), st.composite(mutated)()))
@settings(max_examples=150, deadline=None)
def test_whatever_comes_is_read(mail: bytes) -> None:
    """It never raises, and what it says keeps to its types and sizes."""
    assert list(faults(read(mail))) == []


def nested(depth: int, inner: bytes) -> bytes:
    """Put a part into so many others."""
    begin = b"".join(
        b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (one, one)
        for one in range(depth)
    )
    return begin + inner


HEAD = b"From: MAILER-DAEMON@example.net\nSubject: Undelivered\n"
STATUS = b"Content-Type: message/delivery-status\n\n"
LARGE: Sequence[bytes] = (
    b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\n<a@b.example> 550 user\n" * 100_000,
    nested(1000, STATUS + b"x" * 10_000_000),
    b'Content-Type: multipart/mixed; x="' + b'";' * 1_000_000,
    HEAD + b"\n" + b"aaaa@" * 2_000_000,
    HEAD + b"\n" + b"mail message sender 550 5.1.1 user address " * 200_000,
    HEAD + b"Content-Type: text/html\n\n" + b"<a <" * 2_000_000,
    HEAD + b"References: " + b"<a@b> " * 1_000_000 + b"\n\n550 x",
    STATUS + b"Final-Recipient: rfc822; a@b.example\nAction: failed\n\n" * 100_000,
)


def test_large_and_deep_emails_take_no_time() -> None:
    """100,000 parts, a part 1,000 deep, and what makes patterns slow: all within bounds."""
    for mail in LARGE:
        begun = process_time()
        reading = read(mail)
        assert process_time() - begun < 1
        assert list(faults(reading)) == []
        assert reading.report is None or len(reading.report.verdicts) <= 100
