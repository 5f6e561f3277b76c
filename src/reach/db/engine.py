"""Database: opens and commits. Transaction: joins.

Whatever touches the database is a plain function whose first argument is a ``Transaction``.
Only ``Database`` opens and commits, so what happened together is visible where it is called.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, func, select

from reach.db.group import Group
from reach.settings import Settings

Transaction = Connection

R = TypeVar("R")
T = TypeVar("T")
P = ParamSpec("P")

#: Where a transaction keeps what it will announce if it commits.
_NOTICES = "reach_notices"


def notify(tx: Transaction, channel: str) -> None:
    """Wake whoever waits for ``channel``, here and in other processes, if ``tx`` commits."""
    notices: set[str] = tx.info.setdefault(_NOTICES, set())
    if channel not in notices:
        notices.add(channel)
        if tx.dialect.name == "postgresql":
            tx.execute(select(func.pg_notify(channel, "")))


def take_notices(tx: Transaction) -> set[str]:
    """Take what a finished transaction wanted announced. For ``Database`` alone."""
    notices: set[str] = tx.info.pop(_NOTICES, set())
    return notices


class Database(ABC):
    """A database that many callers of one event loop share.

    Every method answers within ``settings.database_seconds``, if only with ``DatabaseAway``.
    """

    def __init__(self, settings: Settings) -> None:
        """Remember the time limits; connect to nothing yet."""
        self.seconds = settings.database_seconds
        self._group = Group(self.transact, settings.database_seconds)
        self._listeners: dict[str, set[asyncio.Event]] = defaultdict(set)

    async def read(
        self, fn: Callable[Concatenate[Transaction, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run ``fn(tx, …)`` in one read-only transaction. Raises what it raises."""
        return await self.look(partial(_call, fn, args, kwargs))

    async def write(
        self, fn: Callable[Concatenate[Transaction, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run ``fn(tx, …)`` in one transaction and commit it before returning.

        Raises what ``fn`` raises, with nothing changed; DatabaseAway.
        """
        return await self.transact(partial(_call, fn, args, kwargs))

    def group(
        self, fn_all: Callable[[Transaction, Sequence[T]], Sequence[R]]
    ) -> Callable[[T], Coroutine[Any, Any, R]]:
        """Make the form of ``fn_all`` that one caller uses for one item, commits being shared.

        ``fn_all(tx, items)`` answers for each item, in order; see ``Group`` for failures.
        """
        return self._group.member(fn_all)

    def subscribe(self, channel: str) -> asyncio.Event:
        """Get an event that is set whenever a commit announces ``channel`` (see ``relay``)."""
        event = asyncio.Event()
        self._listeners[channel].add(event)
        return event

    def announce(self, channel: str) -> None:
        """Set the events of this process that wait for ``channel``."""
        for event in self._listeners[channel]:
            event.set()

    @abstractmethod
    async def look(self, work: Callable[[Transaction], R]) -> R:
        """Run ``work`` in a read-only transaction."""

    @abstractmethod
    async def transact(self, work: Callable[[Transaction], R]) -> R:
        """Run ``work`` in a transaction and commit it."""

    @abstractmethod
    async def relay(self, channel: str) -> None:
        """Announce here what other processes commit on ``channel``; runs until cancelled."""

    @abstractmethod
    async def scrub(self) -> None:
        """Make sure that no file of ours still holds what was deleted."""

    async def close(self) -> None:
        """Finish the commits under way and let go of every connection."""
        await self._group.close()


def _call(
    fn: Callable[..., R], args: tuple[object, ...], kwargs: dict[str, object], tx: Transaction
) -> R:
    return fn(tx, *args, **kwargs)


def open_database(settings: Settings) -> Database:
    """Choose the database by its URL. Connects to nothing yet."""
    if settings.database.is_sqlite:
        from reach.db.sqlite import SqliteDatabase  # noqa: PLC0415 - one driver is enough

        return SqliteDatabase(settings)
    from reach.db.postgres import PostgresDatabase  # noqa: PLC0415 - one driver is enough

    return PostgresDatabase(settings)
