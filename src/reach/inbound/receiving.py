"""One mail comes in: it is read, and its report is recorded."""

import asyncio
from typing import Literal

import structlog

from reach.db.database import Database
from reach.inbound.addresses import Addresses
from reach.problems import ServiceUnavailable
from reach.reports.intake import Intake
from reach.reports.reading import Reading, read
from reach.reports.record import Taken
from reach.settings import Settings
from reach.telemetry.logging import frames
from reach.telemetry.metrics import INBOUND_MAILS

log = structlog.get_logger("reach.inbound")

#: What became of a mail. ``no-report``: it is none. ``later``: the database is unavailable.
#: ``failed``: it met a fault of ours. Of the last two nothing was recorded that is known of.
Received = Taken | Literal["no-report", "later", "failed"]

#: As much of a mail as is read. A report is at its beginning: what comes after so many bytes can
#: only be what was returned with it.
READ_BYTES = 1024 * 1024
#: A mail that is longer is read in a thread, so that others are answered meanwhile.
LONG_BYTES = 64 * 1024


class Receiving:
    """Takes mails, one by one or many at the same time: those share their commits."""

    def __init__(self, settings: Settings, database: Database) -> None:
        """Take the collaborators. Raises BadSettings without a secret."""
        self._intake = Intake(settings, database)
        self.addresses = Addresses(settings)

    async def take(self, mail: bytes, recipient: str | None) -> Received:
        """Read a mail that was sent to ``recipient``, and have its report recorded.

        Says what became of it once that is committed. It can be offered again, which changes
        nothing that was recorded.
        """
        try:
            reading = await _read(mail, recipient)
            report = reading.report
            taken = "no-report" if report is None else await self._intake.take_in(report)
        except ServiceUnavailable as unavailable:
            log.warning("a report was not recorded", reason=unavailable.detail)
            return "later"
        except Exception as error:  # noqa: BLE001 - who brought it still has it
            log.error("inbound failed", **frames(error))
            return "failed"
        INBOUND_MAILS.labels(reading.sort).inc()
        return taken


async def _read(mail: bytes, recipient: str | None) -> Reading:
    if len(mail) <= LONG_BYTES:
        return read(mail, recipient)
    return await asyncio.to_thread(read, mail[:READ_BYTES], recipient)
