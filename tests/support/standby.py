"""A Postgres server and its standby: streaming replication, promotion, and back."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.databases import execute
from tests.support.postgres import Postgres


class Replica(Postgres):
    """A server that begins as a copy of another one, which has not started yet."""

    def __init__(self, other: Postgres) -> None:
        self._other = other
        super().__init__()

    def _initialise(self) -> None:
        self._prepare()
        shutil.copytree(self._other.folder / "data", self.folder / "data", symlinks=True)
        self._hand_over(self.folder / "data")


@contextmanager
def pair() -> Iterator[tuple[Postgres, Postgres]]:
    """Run a primary, and a standby that follows it. Raises NoPostgres."""
    primary = Postgres()
    try:
        standby = Replica(primary)
        try:
            primary.start()
            standby.follow(primary)
            standby.start()
            yield primary, standby
        finally:
            standby.close()
    finally:
        primary.close()


def promote(standby: Postgres) -> None:
    """Make a standby the primary, and wait until it is."""
    execute(standby.url, "SELECT pg_promote(true, 30)")


def fail_over(primary: Postgres, standby: Postgres) -> None:
    """Have the standby be the primary, and the primary come back as its standby."""
    primary.stop()
    promote(standby)
    primary.follow(standby)
    primary.start()
