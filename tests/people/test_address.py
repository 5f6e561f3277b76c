"""Addresses: which are taken, whose they are, and how they stand on an envelope."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reach.people import address
from reach.people.address import key_prefix, parse_address

LONG_DOMAIN = ".".join(["d" * 63] * 2) + ".example.com"

#: As typed; the recipient; the key.
TAKEN = [
    ("ada@example.com", "ada@example.com", "ada@example.com"),
    (" ada@example.com\t", "ada@example.com", "ada@example.com"),
    ("Ada.Lovelace@Example.COM", "Ada.Lovelace@example.com", "ada.lovelace@example.com"),
    (
        "a+b=c!#$%&'*/?^_`{|}~-@x.org",
        "a+b=c!#$%&'*/?^_`{|}~-@x.org",
        "a+b=c!#$%&'*/?^_`{|}~-@x.org",
    ),
    ("Ada@Bücher.example", "Ada@xn--bcher-kva.example", "ada@xn--bcher-kva.example"),
    ("ada@BU\u0308CHER.example", "ada@xn--bcher-kva.example", "ada@xn--bcher-kva.example"),
    ("ada@XN--BCHER-KVA.example", "ada@xn--bcher-kva.example", "ada@xn--bcher-kva.example"),
    ("ada@почта.рф", "ada@xn--80a1acny.xn--p1ai", "ada@xn--80a1acny.xn--p1ai"),
    ("ada@\uff45\uff58\uff41mple.com", "ada@example.com", "ada@example.com"),
    ("a@a-b.example", "a@a-b.example", "a@a-b.example"),
    ("1@2.co", "1@2.co", "1@2.co"),
    (f"a@{LONG_DOMAIN}", f"a@{LONG_DOMAIN}", f"a@{LONG_DOMAIN}"),
]
REFUSED = {
    "nothing": "",
    "no @": "ada.example.com",
    "two @": "ada@b@example.com",
    "no local part": "@example.com",
    "no domain": "ada@",
    "no dot": "ada@example",
    "two dots": "ada@example..com",
    "dots at the ends": ".ada@example.com",
    "a dot before the @": "ada.@example.com",
    "two dots before the @": "a..b@example.com",
    "a dot at the end": "ada@example.com.",
    "a space": "a da@example.com",
    "a line break": "ada@example.com\n",
    "a header": "ada@example.com\r\nBcc: b@example.com",
    "a NUL": "a\0da@example.com",
    "a comma": "ada@example.com,b@example.com",
    "a name": "Ada <ada@example.com>",
    "angle brackets": "<ada@example.com>",
    "a comment": "ada(x)@example.com",
    "quoted": '"a b"@example.com',
    "quoted, ordinary": '"ada"@example.com',
    "an IP address": "ada@127.0.0.1",
    "a literal": "ada@[127.0.0.1]",
    "a literal of IPv6": "ada@[IPv6:::1]",
    "a full-width @": "ada\uff20example.com",
    "an underscore": "ada@exam_ple.com",
    "a hyphen first": "ada@-example.com",
    "a hyphen last": "ada@example-.com",
    "a long label": f"ada@{'d' * 64}.com",
    "a broken A-label": "ada@xn--zzzzzz.example",
    "a reserved label": "ada@ab--cd.example",
    "a label that is an emoji": "ada@☕.example",
    "a joiner": "ada@exam\u200dple.com",
    "a direction": "\u202eada@example.com",
    "a surrogate": "\ud800@example.com",
    "localhost": "ada@localhost",
    "below localhost": "ada@mail.localhost",
    "local": "ada@printer.local",
    "test": "ada@example.test",
    "invalid": "ada@example.INVALID",
    "onion": "ada@example.onion",
    "arpa": "ada@1.0.0.127.in-addr.arpa",
    "too long": f"{'a' * 60}@{'d' * 63}.{'d' * 63}.{'d' * 63}.com",
    "too long once encoded": f"{'a' * 60}@{'.'.join(['ü' * 30] * 6)}.com",
    "ten thousand letters": f"{'a' * 10_000}@example.com",
}


@pytest.mark.parametrize(("typed", "recipient", "key"), TAKEN)
def test_addresses_that_people_have_are_taken(typed: str, recipient: str, key: str) -> None:
    """As typed; as it goes on the envelope; and whose it is."""
    found = parse_address(typed)
    assert (found.typed, found.recipient, found.key) == (typed.strip(), recipient, key)


@pytest.mark.parametrize("typed", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("smtputf8", [False, True])
def test_what_no_mail_can_reach_is_refused(typed: str, smtputf8: bool) -> None:
    """In words that repeat none of it."""
    with pytest.raises(ValueError, match=r"email address") as refusal:
        parse_address(typed, smtputf8=smtputf8)
    assert not typed or typed not in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_other_letters_before_the_at_need_smtputf8() -> None:
    """Case folding would merge two mailboxes, so only ASCII letters lose their case."""
    with pytest.raises(ValueError, match="can be sent to"):
        parse_address("straße@example.com")
    one = parse_address("Straße@example.com", smtputf8=True)
    assert (one.key, one.recipient) == ("straße@example.com", "Straße@example.com")
    keys = {
        parse_address(text, smtputf8=True).key
        for text in ("straße@example.com", "strasse@example.com", "STRASSE@example.com")
    }
    assert keys == {"straße@example.com", "strasse@example.com"}
    assert parse_address("Ä@example.com", smtputf8=True).key == "Ä@example.com"


def test_one_mailbox_has_one_key_however_it_is_composed() -> None:
    """The same letters in other code points are the same letters."""
    keys = {parse_address(f"{e}@example.com", smtputf8=True).key for e in ("é", "e\u0301")}
    assert keys == {"é@example.com"}


#: Ordinary, special and broken ones.
LABELS = st.sampled_from(
    [
        *("a", "A", "example", "xn--", "xn--bcher-kva", "XN--P1AI", "ab--c", "ac--", "a-", "-a"),
        *("a_b", "1", "c1", "1c", "c", "com", "local", "arpa", "test", "bücher", "ß"),
    ]
) | st.sampled_from(["", "d" * 63, "d" * 64])
WORDS = st.text(st.sampled_from("abcxyzABC019-."), min_size=1, max_size=20)
DOMAINS = st.lists(LABELS, min_size=1, max_size=5).map(".".join) | WORDS
LOCALS = st.lists(
    st.sampled_from([*"aZ09.+-_!#%'`{}~/=?^|&*$", "x" * 30, '"', " ", "(", ",", "\\", "é", "\0"]),
    max_size=6,
).map("".join)
ADDRESSES = st.builds(lambda local, domain: f"{local}@{domain}", LOCALS, DOMAINS)


@settings(max_examples=500, derandomize=True, database=None, deadline=None)
@given(ADDRESSES | st.text())
@example("a" * 64 + "@example.com")
@example("a" * 65 + "@example.com")
@example("a@" + ".".join(["d" * 63] * 3) + "." + "d" * 61)
@example("a@" + ".".join(["d" * 63] * 3) + "." + "d" * 60)
def test_the_fast_way_and_the_long_way_agree(text: str) -> None:
    """What the short cut takes, email-validator takes too, and reads the same in it."""
    typed = text.strip(" \t")
    fast = address._split_ordinary(typed)
    if len(typed) > address.LONGEST:
        with pytest.raises(ValueError, match="at most 254"):
            parse_address(text)
        return
    if fast is None:
        return
    assert address._split(typed, smtputf8=False) == fast
    assert address._split(typed, smtputf8=True) == fast


@settings(max_examples=200, derandomize=True, database=None, deadline=None)
@given(ADDRESSES | st.text())
def test_whatever_is_taken_can_be_sent_to(text: str) -> None:
    """One line, of a length that SMTP has; taken again, it is the same."""
    for smtputf8 in (False, True):
        try:
            found = parse_address(text, smtputf8=smtputf8)
        except ValueError:
            continue
        local, _, domain = found.recipient.rpartition("@")
        assert found.recipient.isprintable()
        assert " " not in found.recipient
        assert domain.isascii()
        assert smtputf8 or local.isascii()
        assert len(local.encode()) <= 64
        assert len(found.recipient.encode()) <= 254
        assert parse_address(found.recipient, smtputf8=smtputf8).key == found.key
        assert key_prefix(text) == found.key


@pytest.mark.parametrize(
    ("q", "prefix"),
    [
        ("AD", "ad"),
        ("Ada@", "ada@"),
        (" Ada@Exam", "ada@exam"),
        ("Ada@BÜCHER.example", "ada@xn--bcher-kva.example"),
        ("Ä", "Ä"),
        ("%_\\", "%_\\"),
    ],
)
def test_the_beginning_of_an_address_is_the_beginning_of_its_key(q: str, prefix: str) -> None:
    """ASCII letters lose their case; a whole address is found in any spelling."""
    assert key_prefix(q) == prefix
