"""What `reach check` makes of SPF records."""

import pytest

from tests.support.checks import Checked
from tests.support.servers.dns import DnsServer


def published(remedy: str) -> str:
    """Pick the one record out of a remedy."""
    (line,) = (line for line in remedy.splitlines() if " TXT " in line)
    return line


async def test_one_record_that_ends_in_a_policy(dns: DnsServer, checked: Checked) -> None:
    """It is shown with what it costs a receiver; whether it fits the relay, nobody here knows."""
    dns.say("example.org", "TXT", "v=spf1 mx include:_spf.example.net -all", "something=else")
    dns.say("_spf.example.net", "TXT", "v=spf1 a:mail.example.net ip4:192.0.2.0/24 ?all")
    spf = (await checked())["spf"]
    assert (spf.remedy, spf.advice) == ("", "")
    assert "`v=spf1 mx include:_spf.example.net -all`, 3 of 10 look-ups" in spf.words
    assert "not known here" in spf.words


@pytest.mark.parametrize(
    ("smtp_url", "record"),
    [
        ("smtp://mail.example.net", 'example.org. TXT "v=spf1 a:mail.example.net ~all"'),
        ("smtp://192.0.2.1", 'example.org. TXT "v=spf1 ip4:ADDRESS ~all"'),
        ("smtp://relay", 'example.org. TXT "v=spf1 ip4:ADDRESS ~all"'),
    ],
)
async def test_no_record(checked: Checked, smtp_url: str, record: str) -> None:
    """One to begin with is printed, with the mail server's name where it has one."""
    spf = (await checked(smtp_url=smtp_url))["spf"]
    assert spf.words == "example.org has no record"
    assert published(spf.remedy) == record


async def test_several_records(dns: DnsServer, checked: Checked) -> None:
    """Receivers believe none: one with the words of both is printed, and then all is well."""
    dns.say("example.org", "TXT", "v=spf1 a mx -all", "v=spf1 mx redirect=spf.example.net")
    dns.say("spf.example.net", "TXT", "v=spf1 ip6:2001:db8::/32 -all")
    spf = (await checked())["spf"]
    assert "has 2 records" in spf.words
    one = published(spf.remedy)
    assert one == 'example.org. TXT "v=spf1 a mx include:spf.example.net ~all"'
    dns.say("example.org", "TXT")
    dns.publish(one)
    assert not (await checked())["spf"].remedy


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ("v=spf1 mx +all", "whole world"),
        ("v=spf1 mx all", "whole world"),
        ("v=spf1 -all", "nobody"),
        ("v=spf1 -mx ?include:other.example.net ~all", "nobody"),
        ("v=spf1", "nobody"),
    ],
)
async def test_a_policy_that_is_none(
    dns: DnsServer, checked: Checked, record: str, words: str
) -> None:
    """Who lets everybody send, or nobody, has to mend it."""
    dns.say("example.org", "TXT", record)
    dns.say("other.example.net", "TXT", "v=spf1 mx -all")
    assert words in (await checked())["spf"].remedy


@pytest.mark.parametrize("record", ["v=spf1 mx", "V=SPF1 MX ?ALL", "v=spf1 mx exp=why.example.org"])
async def test_a_policy_that_says_nothing(dns: DnsServer, checked: Checked, record: str) -> None:
    """It is advice only: the sender's own mail passes."""
    dns.say("example.org", "TXT", record)
    spf = (await checked())["spf"]
    assert (spf.remedy, "~all" in spf.advice) == ("", True)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ("v=spf1 inlcude:_spf.example.net -all", "inlcude is not a valid SPF mechanism"),
        ("v=spf1 ip4:192.0.2 -all", "192.0.2 is not a valid IPv4 value"),
        ("v=spf1 ip6:192.0.2.1 -all", "192.0.2.1 is not a valid IPv6 value"),
        ("v=spf1 include:nowhere.example.net -all", "nowhere.example.net has no SPF record"),
        ("v=spf1 include: -all", "include must have a value"),
        ("v=spf1 mx redirect=two.example.net", "multiple SPF TXT records"),
        ("v=spf1 include:loop.example.net -all", "Include loop"),
        ("v=spf1 " + "a:x.example.org " * 11 + "-all", "11/10 maximum DNS lookups"),
        ("v=spf1 a:no1.test.org a:no2.test.org a:no3.test.org -all", "3/2 maximum void"),
    ],
)
async def test_what_receivers_make_nothing_of(
    dns: DnsServer, checked: Checked, record: str, words: str
) -> None:
    """A typing error, a record that refers to none, to several, to itself, or to too many."""
    dns.say("example.org", "TXT", record)
    dns.say("two.example.net", "TXT", "v=spf1 -all", "v=spf1 mx -all")
    dns.say("loop.example.net", "TXT", "v=spf1 include:loop.example.net -all")
    spf = (await checked())["spf"]
    assert words in spf.words
    assert spf.remedy


async def test_ten_look_ups_are_allowed(dns: DnsServer, checked: Checked) -> None:
    """And what comes after the policy costs none."""
    dns.say("example.org", "TXT", "v=spf1 " + "a:x.example.org " * 10 + "-all a a a")
    spf = (await checked())["spf"]
    assert (spf.remedy, "10 of 10" in spf.words) == ("", True)


async def test_a_record_that_leads_where_nobody_answers(dns: DnsServer, checked: Checked) -> None:
    """It is not known, rather than wrong."""
    dns.say("example.org", "TXT", "v=spf1 include:away.example.net -all")
    dns.fail("away.example.net")
    spf = (await checked())["spf"]
    assert spf.words.startswith("not known: ")
    assert "away.example.net" in spf.words


async def test_who_sends_is_part_of_the_name(dns: DnsServer, checked: Checked) -> None:
    """Macros are counted, and not followed."""
    dns.say("example.org", "TXT", "v=spf1 include:%{d}.example.net exists:%{i}.example.net ~all")
    spf = (await checked())["spf"]
    assert (spf.remedy, "2 of 10" in spf.words) == ("", True)


async def test_what_changed_since_is_noticed(dns: DnsServer, checked: Checked) -> None:
    """Nothing is remembered from one check to the next."""
    dns.say("example.org", "TXT", "v=spf1 include:_spf.example.net ~all")
    dns.say("_spf.example.net", "TXT", "v=spf1 ip4:192.0.2.1 -all")
    assert not (await checked())["spf"].remedy
    dns.say("_spf.example.net", "TXT", "v=spf1 ip4:192.0.2 -all")
    assert "192.0.2 is not a valid IPv4 value" in (await checked())["spf"].words
