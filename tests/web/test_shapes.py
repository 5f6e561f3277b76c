"""What a text must look like is the same to the service and in its document."""

import re
from datetime import UTC, datetime
from uuid import UUID

import jsonschema_rs
import pytest

from reach.idempotency.keys import KEY, read_key
from reach.messages.routes import TEMPLATE
from reach.people.messages import RECIPIENT
from reach.people.operators import PREFIX
from reach.people.text import clean_description
from reach.problems import BadRequest
from reach.shapes import CURSOR, ID, TEXT, Shape, read_time
from reach.web.preconditions import TAGS
from reach.web.responses import read_cursor, write_cursor

SHAPES = [ID, CURSOR, TEXT, KEY, TEMPLATE, TAGS, RECIPIENT, PREFIX]
#: Each fits some of them, or only nearly.
TEXTS = [
    *("", " ", "\t", "a", "a b", " a ", "a\n", "a\0", "a\x85", "\u3000", "\u202e", "ä", "1", "-1"),
    *("welcome", "Welcome", "a" * 63, "a" * 64, "a" * 254, "a" * 255, "a" * 256, "a\r\n"),
    *("ada@example.com", " ada@example.com ", "@", "a@", "a@b@c", "a @b", "é@bücher.example"),
    *(
        '"a"',
        '"a',
        'a"',
        '""',
        '"a\\"b"',
        '"\\"',
        "a,b",
        '"a,b"',
        '" "',
        "a\\b",
        '"' + "a" * 256 + '"',
    ),
    *("*", '*, "a"', 'W/"a"', '"a", W/"b"', '"a","b"', '"a" "b"', '"ä"', '"\x7f"', "**", 'w/"a"'),
    "01a20aee-6a2a-7a2b-8fad-3dec2137a7f1",
    "01A20AEE-6A2A-7A2B-8FAD-3DEC2137A7F1",
    "01a20aee6a2a7a2b8fad3dec2137a7f1",
    "{01a20aee-6a2a-7a2b-8fad-3dec2137a7f1}",
    "01a20aee-6a2a-7a2b-8fad-3dec2137a7f1\n",
    "AaIK7moqeiuPrT3sITen8Q",
    "AaIK7moqeiuPrT3sITen8R",
    "AaIK7moqeiuPrT3sITen8Q==",
    *("\ue000", "\ufdd0", "\U0001fffe", "\U000f0000", "\U0010ffff", "😀", "\u200b", "\x7f"),
]
TIMES = {
    "2026-03-04T05:06:07Z": datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
    "2026-03-04t05:06:07.123456789+01:00": datetime(2026, 3, 4, 4, 6, 7, 123456, tzinfo=UTC),
    "2016-12-31T23:59:60Z": datetime(2017, 1, 1, tzinfo=UTC),
    "2017-01-01T08:59:60.5+09:00": datetime(2017, 1, 1, 0, 0, 0, 500000, tzinfo=UTC),
    "0001-01-01T00:00:00+02:00": datetime.min.replace(tzinfo=UTC),
    "0000-02-29T00:00:00Z": datetime.min.replace(tzinfo=UTC),
    "9999-12-31T23:59:59.9999999-08:00": datetime.max.replace(tzinfo=UTC),
    "9999-12-31T23:59:60Z": datetime.max.replace(tzinfo=UTC),
}
NO_TIMES = ["2026-02-30T00:00:00Z", "2026-03-04 05:06:07Z", "2026-03-04T05:06:07", "1700000000", ""]
NO_TIMES += ["2026-03-04T24:00:00Z", "0000-02-30T00:00:00Z", "2026-03-04T05:06:60Z", "now"]
NO_TIMES += [f"2026-03-04T05:06:07.{'1' * 60}Z", "2026-03-04T05:06:07Z\n", "٢٠٢٦-03-04T05:06:07Z"]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.said)
def test_who_reads_the_document_reads_the_same(shape: Shape) -> None:
    """By JSON Schema's own pattern language: what fits here fits there, and the other way round."""
    validator = jsonschema_rs.Draft202012Validator(shape.schema)
    fitting = [text for text in TEXTS if shape.fits(text)]
    assert fitting == [text for text in TEXTS if validator.is_valid(text)]
    assert 0 < len(fitting) < len(TEXTS)


def test_the_pattern_of_text_is_the_rule_for_it() -> None:
    """Of every character of the first plane, and those at the ends of others: the same ones."""
    allowed = re.compile(TEXT.pattern)

    def is_taken(character: str) -> bool:
        try:
            clean_description(f"a{character}a")
        except ValueError:
            return False
        return True

    surrogates = range(0xD800, 0xE000)  # a body with one is not read at all
    ends = (plane << 16 | end for plane in range(1, 17) for end in (0, 0xFFFD, 0xFFFE, 0xFFFF))
    wrong = [
        hex(code)
        for code in (*range(0x10000), *ends)
        if code not in surrogates
        and (allowed.fullmatch(chr(code)) is not None) is not is_taken(chr(code))
    ]
    assert wrong == []


def test_each_cursor_is_written_in_one_way() -> None:
    """What is written is read; and of all spellings of its bytes no other is."""
    for last in (UUID(int=0), UUID(int=2**128 - 1), UUID("01a20aee-6a2a-7a2b-8fad-3dec2137a7f1")):
        written = write_cursor(last)
        assert CURSOR.fits(written)
        assert read_cursor(written) == last


@pytest.mark.parametrize(("text", "time"), TIMES.items())
def test_every_time_of_the_standard_is_read(text: str, time: datetime) -> None:
    """Leap seconds, and what programs write for "since ever" and "for ever", in any zone."""
    assert read_time(text) == time


@pytest.mark.parametrize("text", NO_TIMES)
def test_nothing_else_is_a_time(text: str) -> None:
    """No such day, no offset, another form."""
    with pytest.raises(ValueError, match="RFC 3339"):
        read_time(text)


def test_a_key_is_the_same_in_quotes_and_bare() -> None:
    """RFC 9651's escapes are undone; what has no shape of a key is refused."""
    assert read_key(['"a b"']) == read_key([" a b\t"]) == "a b"
    assert read_key(['"a\\"\\\\"']) == 'a"\\'
    assert read_key(['"' + '\\"' * 255 + '"']) == '"' * 255
    for wrong in ("", '""', '"', "a,b", 'a"b', "a" * 256, '"' + "a" * 256 + '"', "ä", '"a\\b"'):
        with pytest.raises(BadRequest):
            read_key([wrong])
    with pytest.raises(BadRequest):
        read_key(["a", "a"])
