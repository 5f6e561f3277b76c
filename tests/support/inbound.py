"""Reports as mail servers send them, and Reach as it takes them in."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio

from reach.auth.return_path import ReturnPaths
from reach.db.database import Database
from reach.messages import suppressions
from reach.messages.outcome import Sent
from reach.runtime.inbound import bound, take_reports
from reach.runtime.process import Stop
from reach.settings import Settings
from tests.support.database.outboxes import Outbox
from tests.support.database.stored import messages_in, sign_up

DSN = """\
From: MAILER-DAEMON@mail.example.org (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
To: {to}
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="=_b"
Message-Id: <20261201005209.7BD95293406@mail.example.org>

This is a MIME-encapsulated message.

--=_b
Content-Description: Notification
Content-Type: text/plain; charset=us-ascii

This is the mail system at host mail.example.org.
..
--=_b
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; mail.example.org
Arrival-Date: Tue,  1 Dec 2026 00:52:09 +0000 (UTC)

Final-Recipient: rfc822; {recipient}
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.example.com
Diagnostic-Code: smtp; 550 5.1.1 Nobody of that name

--=_b
Content-Description: Undelivered Message Headers
Content-Type: text/rfc822-headers

From: Reach <reach@mail.example.org>
To: {recipient}
Subject: Welcome

--=_b--
"""


def dsn(to: str, recipient: str = "ada@example.com") -> bytes:
    """Write the DSN of a message that could not be delivered, as Postfix does."""
    return DSN.format(to=to, recipient=recipient).replace("\n", "\r\n").encode()


@asynccontextmanager
async def taking_reports(settings: Settings, database: Database) -> AsyncIterator[Stop]:
    """Take reports in, as the settings say, until the ``with`` ends, or it is told to stop."""
    stop = Stop()
    with bound(settings) as listener:
        async with anyio.create_task_group() as group:
            group.start_soon(take_reports, settings, database, listener, stop)
            try:
                yield stop
            finally:
                stop.ask()


async def send(settings: Settings, database: Database, *addresses: str) -> Sequence[str]:
    """Send everybody at these addresses a message: the return path of each."""
    post = Outbox(database, settings)
    await sign_up(database, settings, *addresses)
    leased = {message.recipient: message for message in await post.lease(len(addresses))}
    taken = Sent("250 2.0.0 taken", 250, "2.0.0")
    await post.record_outcomes([(message, taken) for message in leased.values()])
    return_paths = ReturnPaths(settings)
    return [return_paths.of(leased[address].id) or "" for address in addresses]


async def states(database: Database) -> list[str]:
    """What has become of each message, the oldest first."""
    return [message.state for message in await messages_in(database)]


async def suppressed(database: Database) -> list[str]:
    """Which addresses nothing is sent to any more."""
    page, *_ = await database.read(suppressions.page, suppressions.Filter(), limit=50)
    return sorted(one.email_key for one in page)
