"""What `reach check` makes of DMARC records."""

import pytest

from tests.checks.conftest import Checked
from tests.support.dns import DnsServer

NAME = "_dmarc.example.org"


async def test_no_record(dns: DnsServer, checked: Checked) -> None:
    """One to begin with is printed; published, it is well, with advice for later."""
    dmarc = (await checked())["dmarc"]
    assert dmarc.words == f"no record at {NAME}"
    assert dmarc.remedy == f'Publish:\n{NAME}. TXT "v=DMARC1; p=none"'
    dns.publish(dmarc.remedy.splitlines()[1])
    dmarc = (await checked())["dmarc"]
    assert (dmarc.remedy, "p=quarantine" in dmarc.advice) == ("", True)


@pytest.mark.parametrize("record", ["v=DMARC1; p=reject", "V = dmarc1;p=Quarantine ; adkim=s"])
async def test_a_policy(dns: DnsServer, checked: Checked, record: str) -> None:
    """Nothing to do."""
    dns.say(NAME, "TXT", record, "another=text")
    dmarc = (await checked())["dmarc"]
    assert dmarc.words == f"{NAME} has `{record}`"
    assert (dmarc.remedy, dmarc.advice) == ("", "")


@pytest.mark.parametrize(
    ("records", "words"),
    [
        (["v=DMARC1; p=maybe"], "It must have p="),
        (["v=DMARC1; rua=mailto:a@example.org"], "It must have p="),
        (["v=DMARC1; p=none", "v=DMARC1; p=reject"], "Keep one."),
        (["p=reject"], "Publish:"),
        (["v=DMARC10; p=reject"], "Publish:"),
    ],
)
async def test_records_that_do_not_count(
    dns: DnsServer, checked: Checked, records: list[str], words: str
) -> None:
    """No policy, another word for one, or two of them."""
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
    assert (own.remedy, own.advice) == ("", "")


async def test_a_signature_that_does_not_count(dns: DnsServer, checked: Checked) -> None:
    """adkim=s wants the very domain of From."""
    sender = {"mail_from": "hello@mail.example.org", "dkim_domain": "example.org"}
    dns.say(NAME, "TXT", "v=DMARC1; p=reject; adkim=s")
    assert "adkim=s" in (await checked(**sender))["dmarc"].remedy
    assert not (await checked(**(sender | {"dkim_domain": ""})))["dmarc"].remedy
