"""A worker's process: it sends what the outbox holds."""

from collections.abc import Sequence

from reach.db.database import Database
from reach.delivery.relays import Relays
from reach.delivery.worker import Chore, Worker
from reach.mail.compose import Composer
from reach.mail.dkim import DkimKey
from reach.people.indexing import Indexing
from reach.people.link_requests import LinkRequests
from reach.people.notices import Notices
from reach.runtime.data_dir import with_secret_key
from reach.runtime.process import (
    Stop,
    counting,
    keep_what_is_made,
    keeping_gauges,
    opened,
    wait_for_schema,
)
from reach.settings import BadSettings, Settings
from reach.settings.urls import SmtpUrl
from reach.webhooks.delivery import Deliveries


async def work(settings: Settings) -> None:
    """Run one worker. Raises CannotStart, and BadSettings without mail server or schema."""
    if not settings.smtp_servers:
        raise BadSettings("REACH_SMTP_URL must be set: only `reach up` has a mailbox of its own")
    dkim = DkimKey.of(settings)
    settings = with_secret_key(settings)
    stop = Stop()
    with stop.on_signals(), counting(settings):
        async with opened(settings) as database:
            worker = make_worker(settings, database, settings.smtp_servers, dkim)
            keep_what_is_made()
            if await wait_for_schema(database, stop.asked):
                async with keeping_gauges(settings, database):
                    await worker.run(stop.asked, stop.cut_off)


def make_worker(
    settings: Settings, database: Database, servers: Sequence[SmtpUrl], dkim: DkimKey | None
) -> Worker:
    """Make a worker that sends, and does all else that a worker does beside it."""
    composer, relays = Composer(settings, dkim), Relays(settings, servers)
    chores: list[Chore] = [
        LinkRequests(settings, database),
        Notices(settings, database),
        Indexing(database),
        Deliveries(settings, database),
    ]
    return Worker(settings, database, composer, relays, chores)
