"""`reach check` asks DNS about the sender's domain: on a good day, a bad one, and not at all."""

import os
import time
from pathlib import Path

import pytest
from anyio import to_thread

from reach.settings import Settings
from tests.support.checks import Checked, MakeSettings, check, failed, finding
from tests.support.messages import a_key, signing
from tests.support.root import ROOT
from tests.support.servers.dns import DnsServer
from tests.support.servers.mail import MailServer

SUBJECTS = {"sender", "spf", "dkim", "dmarc"}


@pytest.fixture
def sender(
    make_settings: MakeSettings, sqlite: str, dns: DnsServer, mail_server: MailServer
) -> Settings:
    """Settings of somebody who sends in earnest."""
    return make_settings(
        database_url=sqlite,
        smtp_url=mail_server.url,
        dns_servers=dns.address,
        **signing(mail_from="hello@example.org"),
    )


async def test_from_nothing_published_to_all_well(sender: Settings, dns: DnsServer) -> None:
    """1 and the records to publish; with these published 0. The key is masked."""
    code, lines = await to_thread.run_sync(check, sender)
    assert (code, failed(lines)) == (1, SUBJECTS - {"sender"})
    assert "* REACH_DKIM_PRIVATE_KEY=********" in lines
    assert "PRIVATE KEY-----" not in "".join(lines)
    records = [line.strip() for line in lines if " TXT " in line]
    assert len(records) == 3
    for record in records:
        dns.publish(record.replace("ADDRESS", "192.0.2.1"))
    code, lines = await to_thread.run_sync(check, sender)
    assert (code, failed(lines)) == (0, set())
    assert finding(lines, "dkim")[1] == f"{a_key().name} has our key, of 2048 bits"


async def test_no_name_server_answers(dns: DnsServer, checked: Checked) -> None:
    """Not known, and what to do: within the budget, not after a minute."""
    dns.keep_silent()
    began = time.monotonic()
    found = await checked()
    assert time.monotonic() - began < 10
    assert set(found) == SUBJECTS
    for one in found.values():
        assert one.words.startswith("not known: no name server answered")
        assert "REACH_DNS_SERVERS" in one.remedy


async def test_name_servers_that_fail(dns: DnsServer, checked: Checked) -> None:
    """SERVFAIL is no answer either; what is known beside it is said."""
    dns.say("_dmarc.example.org", "TXT", "v=DMARC1; p=reject")
    dns.fail("example.org", a_key().name)
    found = await checked()
    assert {name for name, one in found.items() if one.words.startswith("not known: ")} == {
        "sender",
        "spf",
        "dkim",
    }
    assert not found["dmarc"].remedy


@pytest.mark.parametrize(
    ("kind", "value", "words", "is_advised"),
    [
        ("MX", "10 mx.example.org.", "takes mail at mx.example.org", False),
        ("MX", "0 .", "takes no mail", True),
        ("A", "192.0.2.1", "has an address and no MX", False),
        ("AAAA", "2001:db8::1", "has an address and no MX", False),
        ("TXT", "x", "neither MX nor address", True),
    ],
)
async def test_where_answers_go(
    dns: DnsServer, checked: Checked, kind: str, value: str, words: str, *, is_advised: bool
) -> None:
    """A domain that takes no mail is refused by some; it is the sender's choice."""
    dns.forget()
    dns.say("example.org", kind, value)
    sender = (await checked())["sender"]
    assert words in sender.words
    assert (sender.remedy, bool(sender.advice)) == ("", is_advised)


@pytest.mark.parametrize(
    "changes",
    [
        {"smtp_url": ""},
        {"mail_from": "reach@localhost"},
        {"mail_from": "reach@mail.localhost"},
        {"mail_from": "reach@intranet"},
        {"mail_from": "reach@mail.corp.internal"},
        {"mail_from": "reach@[192.0.2.1]", "dkim_selector": "", "dkim_private_key": ""},
    ],
)
async def test_who_has_no_domain_of_the_worlds(
    dns: DnsServer, checked: Checked, changes: dict[str, str]
) -> None:
    """Nobody is asked: there is nothing that DNS could say."""
    (one,) = (await checked(**changes)).values()
    assert (one.subject, one.remedy, one.advice) == ("dkim", "", "")
    assert "DNS was not asked" in one.words
    assert dns.asked == []


async def test_what_strangers_publish_is_shown_without_harm(
    dns: DnsServer, checked: Checked
) -> None:
    """No control character reaches the terminal."""
    dns.publish('example.org. IN TXT "v=spf1 \\027[2J mx -all"')
    assert "\\x1b" not in ascii((await checked())["spf"].words)


async def test_without_the_extra_it_is_said_how_to_install_it(
    sender: Settings, dns: DnsServer, tmp_path: Path
) -> None:
    """What needs no extra is checked all the same, and nothing fails for it."""
    dns.publish(f'{a_key().name}. IN TXT "{a_key().record[:250]}" "{a_key().record[250:]}"')
    lacking = tmp_path / "lacking" / "checkdmarc"
    lacking.mkdir(parents=True)
    (lacking / "__init__.py").write_text("raise ModuleNotFoundError('checkdmarc')")
    environment = {"PYTHONPATH": f"{lacking.parent}{os.pathsep}{ROOT / 'src'}"}
    code, lines = await to_thread.run_sync(lambda: check(sender, **environment))
    assert (code, failed(lines)) == (0, set())
    for subject in ("spf", "dmarc"):
        mark, words, advice = finding(lines, subject)
        assert (mark, words) == ("??", "not checked")
        assert "pip install 'reach[dns]'" in advice
    assert finding(lines, "dkim")[1] == f"{a_key().name} has our key, of 2048 bits"
