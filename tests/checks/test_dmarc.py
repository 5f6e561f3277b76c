"""What `reach check` makes of DMARC records."""

import pytest

from tests.support.checks import Checked
from tests.support.servers.dns import DnsServer

NAME = "_dmarc.example.org"
NO_REPORTS = "rua tag (destination for aggregate reports) not found."


async def test_no_record(dns: DnsServer, checked: Checked) -> None:
    """One to begin with is printed; published, it is well, with advice for later."""
    dmarc = (await checked())["dmarc"]
    assert dmarc.words == f"no record at {NAME}"
    assert dmarc.remedy == f'Publish:\n{NAME}. TXT "v=DMARC1; p=none"'
    dns.publish(dmarc.remedy.splitlines()[1])
    dmarc = (await checked())["dmarc"]
    assert (dmarc.remedy, "p=quarantine" in dmarc.advice) == ("", True)


@pytest.mark.parametrize("record", ["v=DMARC1; p=reject", "V = DMARC1;p=Quarantine ; adkim=s"])
async def test_a_policy(dns: DnsServer, checked: Checked, record: str) -> None:
    """Nothing to do, but to name an address for reports."""
    dns.say(NAME, "TXT", record, "another=text")
    dmarc = (await checked())["dmarc"]
    assert dmarc.words == f"{NAME} has `{record}`"
    assert (dmarc.remedy, dmarc.advice) == ("", NO_REPORTS)


@pytest.mark.parametrize(
    ("records", "words"),
    [
        (["v=DMARC1; p=maybe"], "Tag p must have one of the following values"),
        (["v=DMARC1; p=none; p=reject"], "Duplicate p tags"),
        (["v=DMARC1; p=none", "v=DMARC1; p=reject"], "Keep one."),
        (["p=reject"], "Publish:"),
        (["v=DMARC10; p=reject"], "Publish:"),
        (["v=dmarc1; p=reject"], "Publish:"),
    ],
)
async def test_records_that_do_not_count(
    dns: DnsServer, checked: Checked, records: list[str], words: str
) -> None:
    """No policy, another word for one, two of them, or of another version."""
    dns.say(NAME, "TXT", *records)
    assert words in (await checked())["dmarc"].remedy


async def test_a_domain_below_one_that_has_a_policy(dns: DnsServer, checked: Checked) -> None:
    """What the record above says of those below it counts; the domain's own comes first."""
    sender = {"mail_from": "hello@news.mail.example.org", "dkim_domain": "example.org"}
    none = await checked(**sender)
    assert none["dmarc"].words == (
        "no record at _dmarc.news.mail.example.org or _dmarc.mail.example.org or _dmarc.example.org"
    )
    dns.say(NAME, "TXT", "v=DMARC1; p=reject; sp=none")
    assert "p=quarantine" in (await checked(**sender))["dmarc"].advice
    dns.say("_dmarc.news.mail.example.org", "TXT", "v=DMARC1; p=reject; sp=none")
    own = (await checked(**sender))["dmarc"]
    assert own.remedy == ""
    assert "p=quarantine" not in own.advice


async def test_a_signature_that_does_not_count(dns: DnsServer, checked: Checked) -> None:
    """adkim=s wants the very domain of From."""
    sender = {"mail_from": "hello@mail.example.org", "dkim_domain": "example.org"}
    dns.say(NAME, "TXT", "v=DMARC1; p=reject; adkim=s")
    assert "adkim=s" in (await checked(**sender))["dmarc"].remedy
    assert not (await checked(**(sender | {"dkim_domain": ""})))["dmarc"].remedy


async def test_no_policy_is_none(dns: DnsServer, checked: Checked) -> None:
    """RFC 9989 takes it for p=none; older receivers may take it for no record."""
    dns.say(NAME, "TXT", "v=DMARC1; rua=mailto:a@example.org")
    dmarc = (await checked())["dmarc"]
    assert dmarc.remedy == ""
    assert "missing p tag" in dmarc.advice
    assert "p=quarantine" in dmarc.advice


async def test_reports_that_reach_nobody(dns: DnsServer, checked: Checked) -> None:
    """Who is to have them must say so in DNS, if the address is of another domain."""
    dns.say(NAME, "TXT", "v=DMARC1; p=reject; rua=mailto:dmarc@reports.example.net")
    dns.say("reports.example.net", "MX", "10 mx.example.org.")
    assert "reports.example.net does not indicate" in (await checked())["dmarc"].advice
    dns.say("example.org._report._dmarc.reports.example.net", "TXT", "v=DMARC1")
    dmarc = (await checked())["dmarc"]
    assert (dmarc.remedy, dmarc.advice) == ("", "")
