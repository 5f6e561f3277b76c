"""What those say of our emails who decide whether and how people see them."""

import os
import re
import shutil
import subprocess
import tomllib
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import SMTP
from email.utils import format_datetime
from pathlib import Path

import pytest
from justhtml import JustHTML

from reach.mail.samples import DATA
from tests.support.emails import BRANDS, EMAILS, html_of, mail_of
from tests.support.messages import contents, lines, parse

#: What mail programs can show, of what we use; from https://www.caniemail.com.
KNOWN = tomllib.loads(Path(__file__).with_name("caniemail.toml").read_text(encoding="utf-8"))
#: What comes only with the second sort of data differs in nothing that spam filters look at.
FIRST = [email for email in EMAILS if email[1] == 0]


def as_received(content: bytes) -> bytes:
    """Add what mail servers add: ours, which Reach hands emails over to, and the recipient's."""
    at = format_datetime(datetime.now(UTC))
    return (
        b"From reach@example.org Wed Mar  4 05:06:07 2026\n"
        + (
            f"Received: from mail.example.org (mail.example.org [93.184.216.34])\n"
            f"\tby mx.example.com (Postfix) with ESMTPS id 4Bq; {at}\n"
            f"Received: from reach (reach.example.org [10.1.2.3])\n"
            f"\tby mail.example.org (Postfix) with ESMTPSA id 4Bp; {at}\n"
        ).encode()
        + content.replace(b"\r\n", b"\n")
        + b"\n"
    )


@pytest.fixture(scope="module")
def spamassassin() -> str:
    """Find SpamAssassin."""
    found = shutil.which("spamassassin")
    if found is None:
        pytest.skip("there is no spamassassin on the PATH (Debian's package has it)")
    return found


def test_spamassassin_finds_nothing(spamassassin: str, tmp_path: Path) -> None:
    """Its score is 0 at most, of each email in every language; by what it finds in it alone.

    All at once: to start takes it longer than to judge all of them.
    """
    judged_emails = [(brand, *email) for brand in ("none", "whole") for email in FIRST]
    judged = subprocess.run(
        [
            *(spamassassin, "--local", "--test-mode", "--nocreate-prefs"),
            *("--prefspath", "/dev/null", "--cf", "use_bayes 0", "--mbox", "-"),
        ],
        input=b"".join(as_received(mail_of(*email).content) for email in judged_emails),
        capture_output=True,
        check=False,
        timeout=100,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
    )
    scores = re.findall(rb"Content analysis details: +\((-?[0-9.]+) points", judged.stdout)
    assert len(scores) == len(judged_emails), judged.stderr
    found = dict(zip(judged_emails, map(float, scores), strict=True))
    assert {email: score for email, score in found.items() if score > 0} == {}


@pytest.mark.parametrize("brand", BRANDS)
@pytest.mark.parametrize(("template", "number", "language"), EMAILS)
def test_html_is_without_a_fault(brand: str, template: str, number: int, language: str) -> None:
    """What is sent can be read in one way only; no name or brand changes that."""
    JustHTML(html_of(brand, template, number, language), strict=True)


@pytest.mark.parametrize("brand", BRANDS)
@pytest.mark.parametrize(("template", "number", "language"), EMAILS)
def test_mail_servers_take_every_line(
    brand: str, template: str, number: int, language: str
) -> None:
    """However long names are: lines of 998 bytes at most, ASCII, and a valid email."""
    mail = mail_of(brand, template, number, language)
    assert max(map(len, lines(mail))) <= 998
    assert mail.content.isascii()
    read = parse(mail)
    assert read["Content-Language"] == language
    assert all(part.strip() for part in contents(mail))
    # Written again by another program, it says what it said.
    again = message_from_bytes(read.as_bytes(policy=SMTP), policy=SMTP)
    assert again["Subject"] == read["Subject"]


@pytest.mark.parametrize("brand", BRANDS)
@pytest.mark.parametrize("template", sorted(DATA))
def test_mail_programs_know_what_is_used(brand: str, template: str) -> None:
    """Each element, attribute and property is in the list of what was looked up."""
    html = html_of(brand, template, 0, "en")
    styles = re.findall(r'\sstyle="([^"]*)"', html)
    sheet = " ".join(re.findall(r"<style>(.*?)</style>", html, re.DOTALL))
    rules = re.findall(r"\{([^{}]*)\}", sheet)
    used = {
        declaration.partition(":")[0].strip()
        for block in (*styles, *rules)
        for declaration in block.split(";")
        if declaration.strip()
    }
    assert used <= set(KNOWN["properties"])
    assert {f"@{rule}" for rule in re.findall(r"@([a-z-]+ *\([a-z-]+)", sheet)} <= {
        f"@{rule}" for rule in KNOWN["rules"]
    }
    tags = re.findall(
        r"<([a-z0-9]+)((?:\s[^<>]*)?)>", re.sub(r"(?s)<!--.*?-->|<style>.*?</style>", "", html)
    )
    assert {tag for tag, _ in tags} <= set(KNOWN["elements"])
    attributes = {name for _, rest in tags for name in re.findall(r'\s([a-z-]+)="', rest)}
    assert attributes <= set(KNOWN["attributes"])
