"""Makes the corpus of reports again: `python -m tests.support.reports [postfix exim opensmtpd]`.

It needs root, Debian's postfix and exim4-daemon-light, and `apt-get download` for OpenSMTPD. Each
server gets the emails below, and passes them on to a server that refuses them in as many ways.
What comes back to the sender is written to tests/reports/corpus, with other hosts' names. Tests
read those files, and start none of these servers.
"""

import asyncio
import re
import smtplib
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from reach.auth.return_path import CHARACTERS
from tests.support.clock import eventually
from tests.support.reports.servers import ALIAS, DOWN, RELAYS, TEAM, Relay
from tests.support.root import ROOT
from tests.support.servers.mail import MailServer
from tests.support.servers.mail_session import Session

CORPUS = ROOT / "tests" / "reports" / "corpus"
#: How long a server's reports are waited for: it gives up long before.
WAIT_SECONDS = 45
QUIET_SECONDS = 20
OK = 250
MESSAGE_ID = "01a20aee-6a2b-7c11-9d0e-5b7f3f2f9a{number:02d}"
RETURN_PATH = "bounces+{token}@mail.example.org"

#: What the last server says in answer to RCPT, by the local part.
AT_RCPT = {
    "unknown": "550 5.1.1 <{address}>: Recipient address rejected: User unknown in virtual table",
    "bare": "550 sorry, no mailbox here by that name",
    "lines": "550-5.1.1 The email account that you tried to reach does not exist.\r\n"
    "550 5.1.1 Please check the address for typing errors",
    "full": "452 4.2.2 The email account that you tried to reach is over quota",
    "full-at-once": "552 5.2.2 Mailbox full",
    "full-bare": "450 mailbox is full, try again later",
    "grey": "450 4.7.1 <{address}>: Recipient address rejected: Greylisted",
    "blocked": "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using "
    "bl.example.net",
    "disabled": "550 5.2.1 The email account that you tried to reach is disabled",
}
#: The same, in answer to the final dot.
AT_DOT = {
    "spam": "550 5.7.1 This message was classified as spam",
    "spam-bare": "554 Transaction failed: spam message rejected",
    "big": "552 5.3.4 Message size exceeds fixed limit",
    "late": "550 5.1.1 User unknown",
}


@dataclass(frozen=True)
class Case:
    """An email, and how its sender wants to be told what becomes of it."""

    name: str
    recipients: Sequence[str]
    returned: str = "HDRS"
    notify: str = "FAILURE,DELAY"


CASES = (
    Case("unknown", ["unknown@example.net"]),
    Case("unknown-full-mail", ["unknown@example.net"], returned="FULL"),
    Case("bare", ["bare@example.net"]),
    Case("lines", ["lines@example.net"]),
    Case("full", ["full@example.net"]),
    Case("full-at-once", ["full-at-once@example.net"]),
    Case("full-bare", ["full-bare@example.net"]),
    Case("grey", ["grey@example.net"]),
    Case("blocked", ["blocked@example.net"]),
    Case("disabled", ["disabled@example.net"]),
    Case("spam", ["spam@example.net"]),
    Case("spam-bare", ["spam-bare@example.net"]),
    Case("big", ["big@example.net"]),
    Case("late", ["late@example.net"]),
    Case("down", [f"somebody@{DOWN}"]),
    Case("success", ["ada@example.net"], notify="SUCCESS,FAILURE"),
    Case("alias", [ALIAS]),
    Case("several", ["ada@example.net", "unknown@example.net", "blocked@example.net"]),
    Case("utf8", ["zoë@example.net"]),
    Case("utf8-full-mail", ["zoë@example.net"], returned="FULL"),
    Case("alias-success", [TEAM], notify="SUCCESS,FAILURE"),
    Case("half", ["ada@example.net", "unknown@example.net"], notify="SUCCESS,FAILURE"),
)


def main(names: Sequence[str]) -> None:
    """Ask each server, and write what it sent back."""
    CORPUS.mkdir(parents=True, exist_ok=True)
    for relay in RELAYS:
        if not names or relay.name in names:
            asyncio.run(made(relay))


async def made(kind: type[Relay]) -> None:
    """Send each email by one server, and wait until no more reports come."""
    async with MailServer() as target:
        target.script["rcpt"] = at_rcpt
        target.script["dot"] = at_dot
        relay = await asyncio.to_thread(kind, target.port)
        try:
            await asyncio.to_thread(relay.start)
            for number, case in enumerate(CASES):
                await asyncio.to_thread(send, relay, number, case)
            await until_quiet(target)
        finally:
            await asyncio.to_thread(relay.close)
    write(kind.name, target)


def at_rcpt(_session: Session, argument: str) -> str | None:
    """Answer by the recipient's local part."""
    address = argument.removeprefix("TO:").partition(" ")[0].strip("<>")
    if not address.isascii():
        return "550 5.1.1 <zo\xeb@example.net> User unknown"
    said = AT_RCPT.get(address.partition("@")[0])
    return said and said.format(address=address)


def at_dot(session: Session, _argument: str) -> str | None:
    """Answer by the last recipient's local part."""
    return AT_DOT.get(session._recipient.partition("@")[0])


def send(relay: Relay, number: int, case: Case) -> None:
    """Give the relay an email as Reach would, with what it offers of RFC 3461."""
    message_id = MESSAGE_ID.format(number=number)
    token = (f"{number:02d}".translate(str.maketrans("0123456789", "abcdefghij")) * 23)[:CHARACTERS]
    is_utf8 = not all(one.isascii() for one in case.recipients)
    with smtplib.SMTP("127.0.0.1", relay.port, local_hostname="reach.example.org") as client:
        client.command_encoding = "utf-8"
        client.ehlo()
        offers_dsn = client.has_extn("dsn")
        options = [f"RET={case.returned}", f"ENVID={message_id}"] if offers_dsn else []
        if is_utf8 and client.has_extn("smtputf8"):
            options.append("SMTPUTF8")
        client.mail(RETURN_PATH.format(token=token), options)
        asked = f" NOTIFY={case.notify}" if offers_dsn else ""
        replies = [client.docmd("RCPT", f"TO:<{one}>{asked}") for one in case.recipients]
        if all(code != OK for code, _ in replies):
            sys.stderr.write(f"{relay.name} takes no {case.name}: {replies}\n")
            return
        client.data(email(message_id, token, case.recipients[0]).encode())


def email(message_id: str, token: str, recipient: str) -> str:
    """Write a welcome as Reach does, with a link that nobody else may have."""
    return (
        "From: Example <hello@mail.example.org>\r\n"
        f"To: {recipient}\r\n"
        "Subject: Welcome\r\n"
        f"Message-ID: <{message_id}@mail.example.org>\r\n"
        "Date: Tue, 03 Mar 2026 09:30:00 +0000\r\n"
        f"X-Reach-Message: {token}\r\n"
        "Auto-Submitted: auto-generated\r\n"
        "MIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        "\r\n"
        "Welcome. Confirm your address: https://example.org/confirm/a-secret-of-one-person\r\n"
    )


async def until_quiet(target: MailServer) -> None:
    """Wait until no report has come for a while."""
    loop = asyncio.get_running_loop()
    seen, since = -1, loop.time()

    def is_quiet() -> bool:
        nonlocal seen, since
        if seen != (seen := len(target.messages)):
            since = loop.time()
        return loop.time() - since > QUIET_SECONDS

    await eventually(is_quiet, WAIT_SECONDS, every=1)


def write(name: str, target: MailServer) -> None:
    """Write what came back, each under the name of the email that it is about."""
    for old in CORPUS.glob(f"{name}-*.eml"):
        old.unlink()
    found: dict[str, list[bytes]] = {}
    for message in target.messages:
        path = re.fullmatch(r"bounces\+(\w\w)\w+@mail\.example\.org", message.recipient)
        if path is not None and not message.sender:
            number = int(path[1].translate(str.maketrans("abcdefghij", "0123456789")))
            found.setdefault(CASES[number].name, []).append(message.content)
    for case, contents in found.items():
        # Of several, the first says that it is delayed, and the last that it was given up.
        for count, content in enumerate([contents[0], *contents[1:][-1:]], 1):
            file = CORPUS / f"{name}-{case}-{count}.eml"
            file.write_bytes(without_machine(content))
            sys.stdout.write(f"{file.name}\n")


def without_machine(content: bytes) -> bytes:
    """Put other hosts, ports and accounts in the place of this machine's."""
    host = socket.gethostname().encode()
    for old, new in (
        (rb"127\.0\.0\.1(?=[^\d.])", b"192.0.2.25"),
        (rb"(192\.0\.2\.25\]?):\d{4,5}", rb"\1:25"),
        (rb"\b" + re.escape(host) + rb"\b", b"mail.example.org"),
        (rb"localhost", b"mail.example.org"),
    ):
        content = re.sub(old, new, content)
    return content


if __name__ == "__main__":
    main(sys.argv[1:])
