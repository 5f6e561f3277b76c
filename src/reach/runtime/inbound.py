"""The process that reports come in at: from mail servers, and out of a mailbox."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import anyio

from reach.db.database import Database
from reach.inbound.listener import Listener, listening
from reach.inbound.polling import Polling
from reach.inbound.receiving import Receiving
from reach.runtime.data_dir import with_secret_key
from reach.runtime.process import (
    AddressTaken,
    Stop,
    counting,
    keep_what_is_made,
    opened,
    wait_for_schema,
)
from reach.settings import BadSettings, Settings

NOWHERE = (
    "REACH_INBOUND_BIND must say where reports come in, such as lmtp://127.0.0.1:8024, or "
    "REACH_BOUNCE_MAILBOX_URL which mailbox they are in"
)
NOBODY = (
    "REACH_RETURN_PATH must be set, such as bounces@mail.example.org: REACH_INBOUND_BIND takes "
    "what is sent there, or to REACH_COMPLAINTS_ADDRESS, and nothing else"
)


async def receive(settings: Settings) -> None:
    """Take reports in until told to stop. Raises CannotStart, and BadSettings."""
    require_place(settings)
    settings = with_secret_key(settings)
    stop = Stop()
    with stop.on_signals(), counting(settings):
        async with opened(settings) as database:
            keep_what_is_made()
            # Nobody is let in sooner: who could not be answered would wait.
            if await wait_for_schema(database, stop.asked):
                with bound(settings) as listener:
                    await take_reports(settings, database, listener, stop)


def require_place(settings: Settings) -> None:
    """Refuse to start where no report could come in. Raises BadSettings."""
    if settings.bind is None and settings.bounce_mailbox is None:
        raise BadSettings(NOWHERE)
    if settings.bind is not None and not (settings.return_path or settings.complaints_address):
        raise BadSettings(NOBODY)


@contextmanager
def bound(settings: Settings) -> Iterator[socket.socket | None]:
    """Take the place where reports come in, if there is one. Raises AddressTaken, BadSettings."""
    bind = settings.bind
    if bind is None:
        yield None
        return
    require_place(settings)
    try:
        with listening(bind) as listener:
            yield listener
    except OSError as error:
        raise AddressTaken(
            f"Cannot listen for reports at {bind}: {error.strerror}. Choose another place: "
            "REACH_INBOUND_BIND"
        ) from None


async def take_reports(
    settings: Settings, database: Database, listener: socket.socket | None, stop: Stop
) -> None:
    """Take reports in, as the settings say, until told to stop."""
    receiving = Receiving(settings, database)
    async with anyio.create_task_group() as group:
        if settings.bind is not None and listener is not None:
            mail_servers = Listener(settings.bind, receiving, settings.grace_seconds)
            group.start_soon(mail_servers.run, listener, stop.asked, stop.cut_off)
        if settings.bounce_mailbox is not None:
            mailbox = Polling(settings, settings.bounce_mailbox, receiving)
            group.start_soon(mailbox.run, stop.asked, stop.cut_off)
