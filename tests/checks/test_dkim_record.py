"""What `reach check` makes of the DKIM record: whether receivers could believe our signature."""

import pytest

from tests.support.checks import Checked
from tests.support.messages import a_key, pem, pem_of_mersenne_primes
from tests.support.servers.dns import DnsServer

NAME = "reach1._domainkey.example.org"


async def test_the_record_that_is_printed_is_the_right_one(
    dns: DnsServer, checked: Checked
) -> None:
    """None is there: published as printed, in strings of 255 bytes, all is well."""
    missing = (await checked())["dkim"]
    assert missing.words == f"{NAME} has no record"
    say, line = missing.remedy.splitlines()
    assert say == "Publish:"
    assert line.startswith(f'{NAME}. TXT "v=DKIM1; k=rsa; p=')
    strings = line.split('"')[1::2]
    assert "".join(strings) == a_key().record
    assert [len(string) for string in strings[:-1]] == [255]
    assert len(strings[-1]) < 255
    dns.publish(line)
    well = (await checked())["dkim"]
    assert well.words == f"{NAME} has our key, of 2048 bits"
    assert (well.remedy, well.advice) == ("", "")


async def test_a_record_that_does_not_fit_into_a_datagram(dns: DnsServer, checked: Checked) -> None:
    """It is asked for again over TCP, and compared whole."""
    long = pem_of_mersenne_primes(1279, 2281)
    dns.say(NAME, "TXT", a_key(dkim_private_key=long).record)
    well = (await checked(dkim_private_key=long))["dkim"]
    assert (well.remedy, "of 3560 bits" in well.words) == ("", True)
    assert [over for over, name, _ in dns.asked if name == NAME] == ["udp", "tcp"]


def record(**tags: str) -> str:
    """Write our record with these tags changed."""
    ours = dict(part.split("=", 1) for part in a_key().record.split("; "))
    return "; ".join(f"{name}={value}" for name, value in (ours | tags).items())


@pytest.mark.parametrize(
    ("published", "words"),
    [
        (a_key(dkim_private_key=pem(2)).record, "another key"),
        (record(p=""), "revoked"),
        (record(p="!"), "another key"),
        (record(p="AAAA"), "another key"),
        (record(k="ed25519"), "another key"),
        (record(v="DKIM2"), "no DKIM key"),
        ("v=spf1 -all", "no DKIM key"),
        (record(h="sha1"), "sha256"),
        (record(s="tlsrpt"), "not for email"),
    ],
)
async def test_a_record_that_is_not_ours(
    dns: DnsServer, checked: Checked, published: str, words: str
) -> None:
    """Another key, a revoked one, one for something else: the right one is printed."""
    dns.say(NAME, "TXT", published)
    dkim = (await checked())["dkim"]
    assert words in dkim.words
    assert dkim.remedy.startswith(f'Publish:\n{NAME}. TXT "v=DKIM1')


@pytest.mark.parametrize(
    "tags",
    [{"h": "sha1:sha256"}, {"s": "email"}, {"s": "*"}, {"t": "s"}, {"p": a_key().record[18:]}],
)
async def test_other_ways_to_say_the_same(
    dns: DnsServer, checked: Checked, tags: dict[str, str]
) -> None:
    """Tags that allow what Reach does."""
    dns.say(NAME, "TXT", record(**tags))
    dkim = (await checked())["dkim"]
    assert (dkim.remedy, dkim.advice) == ("", "")


async def test_a_record_under_test(dns: DnsServer, checked: Checked) -> None:
    """Receivers treat such mail as unsigned; so it is said, as advice."""
    dns.say(NAME, "TXT", record(t="y:s"))
    dkim = (await checked())["dkim"]
    assert (dkim.remedy, "t=y" in dkim.advice) == ("", True)


async def test_two_records(dns: DnsServer, checked: Checked) -> None:
    """One of them may be right, and receivers may take the other."""
    dns.say(NAME, "TXT", a_key().record, a_key(dkim_private_key=pem(2)).record)
    dkim = (await checked())["dkim"]
    assert "has 2 records" in dkim.words
    assert "Keep one." in dkim.remedy


async def test_a_short_key(dns: DnsServer, checked: Checked) -> None:
    """1,024 bits are believed still; longer is better."""
    short = pem(1, 1024)
    dns.say(NAME, "TXT", a_key(dkim_private_key=short).record)
    dkim = (await checked(dkim_private_key=short))["dkim"]
    assert (dkim.remedy, "1024 bits" in dkim.advice) == ("", True)


async def test_nobody_signs(checked: Checked) -> None:
    """It may be the mail server that does."""
    dkim = (await checked(dkim_selector="", dkim_private_key=""))["dkim"]
    assert dkim.remedy == ""
    assert "mail server signs" in dkim.advice


@pytest.mark.parametrize("sender", ["hello@example.org", "hello@localhost"])
async def test_a_key_that_cannot_be_used(checked: Checked, sender: str) -> None:
    """It is said, by the variable's name and with none of its value, whatever the sender."""
    found = await checked(dkim_private_key="canary", mail_from=sender)
    assert "REACH_DKIM_PRIVATE_KEY" in found["dkim"].remedy
    assert "canary" not in str(found)
    assert ("spf" in found) == ("localhost" not in sender)
