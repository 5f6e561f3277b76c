"""Reading reports out of a mailbox, every now and then.

A mail is removed once its report is committed, so after a crash it is only read again. What is no
report of a message of ours stays, marked as seen: people read it.
"""

import asyncio
from collections.abc import Sequence

import anyio
import structlog

from reach.inbound.imap import ImapMailbox, MailboxUnavailable
from reach.inbound.receiving import Received, Receiving
from reach.settings import Settings
from reach.settings.inbound import ImapUrl
from reach.telemetry.metrics import BOUNCE_MAILBOX_UNAVAILABLE

log = structlog.get_logger("reach.inbound")

#: The longest wait after failures, which doubles up to it.
MOST_WAIT_SECONDS = 15 * 60.0
#: What is removed: it is on disk. ``known``: it was read before a crash.
DONE = ("recorded", "known")


class Polling:
    """Reads one mailbox until it is told to stop."""

    def __init__(self, settings: Settings, url: ImapUrl, receiving: Receiving) -> None:
        """Take the collaborators; touch nothing yet."""
        self._url, self._receiving = url, receiving
        self._ca_file = settings.bounce_mailbox_ca_file
        self._every_seconds, self._grace_seconds = (
            settings.bounce_mailbox_seconds,
            settings.grace_seconds,
        )
        self._mailbox: ImapMailbox | None = None
        self._failures = 0

    async def run(self, stop: anyio.Event, cut_off: anyio.Event) -> None:
        """Read until ``stop``; then finish what is in hand, for up to the grace time."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._abort_after, stop, cut_off)
            while not stop.is_set():
                await self._poll(stop)
                longer = self._every_seconds * 2 ** min(self._failures, 20)
                wait = max(min(longer, MOST_WAIT_SECONDS), self._every_seconds)
                with anyio.move_on_after(wait):
                    await stop.wait()
            group.cancel_scope.cancel()

    async def _poll(self, stop: anyio.Event) -> None:
        """Read the mailbox once, and note how that went."""
        try:
            count = await self._read_all(stop)
        except MailboxUnavailable as unavailable:
            if not self._failures:
                log.warning("the bounce mailbox cannot be read", reason=unavailable.args[0])
            self._failures += 1
            BOUNCE_MAILBOX_UNAVAILABLE.set(1)
            return
        if self._failures:
            log.info("the bounce mailbox is read again")
        self._failures = 0
        BOUNCE_MAILBOX_UNAVAILABLE.set(0)
        if count:
            log.info("the bounce mailbox was read", count=count)

    async def _read_all(self, stop: anyio.Event) -> int:
        """Read all that is new, and say how much that was.

        Raises MailboxUnavailable.
        """
        self._mailbox = mailbox = await asyncio.to_thread(ImapMailbox, self._url, self._ca_file)
        count = 0
        try:
            parts = mailbox.parts()
            while not stop.is_set() and (part := await asyncio.to_thread(next, parts, None)):
                await self._take_all(mailbox, part)
                count += len(part)
        finally:
            self._mailbox = None
            await asyncio.to_thread(mailbox.close)
        return count

    async def _take_all(self, mailbox: ImapMailbox, uids: Sequence[str]) -> None:
        """Take some mails; those whose report is recorded go, and the others are seen."""
        mails = await asyncio.to_thread(lambda: {uid: mailbox.read(uid) for uid in uids})
        there = {uid: mail for uid, mail in mails.items() if mail is not None}
        taking = (self._take(mail) for mail in there.values())
        became = dict(zip(there, await asyncio.gather(*taking), strict=True))
        done = [uid for uid, one in became.items() if one in DONE]
        left = [uid for uid, one in became.items() if one not in (*DONE, "later")]
        await asyncio.to_thread(mailbox.remove, done)
        await asyncio.to_thread(mailbox.mark_seen, left)
        if "later" in became.values():
            raise MailboxUnavailable("what is in it cannot be recorded")

    async def _take(self, mail: bytes) -> Received:
        return await self._receiving.take(mail, self._receiving.addresses.found_in(mail))

    async def _abort_after(self, stop: anyio.Event, cut_off: anyio.Event) -> None:
        await stop.wait()
        with anyio.move_on_after(self._grace_seconds):
            await cut_off.wait()
        if self._mailbox is not None:
            self._mailbox.abort()
