"""What every part of a run is given."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.rounds import Size
from benchmarks.servers import NOW, SQLITE_NAME, Reach, Version
from tests.support.database.databases import create_database
from tests.support.servers.postgres import Postgres

SQLITE, POSTGRES = "SQLite", "Postgres"


class DurablePostgres(Postgres):
    """Postgres as it is delivered: what was committed survives a power cut."""

    options = ("listen_addresses=127.0.0.1", "max_connections=200", "timezone=UTC")


@dataclass
class Context:
    """A run: how much is measured, where, and beside which other version."""

    size: Size
    folder: Path
    postgres: DurablePostgres
    before: Version | None = None
    #: A migrated database of each kind, with an operator's key; every other one is a copy.
    _originals: dict[tuple[str, Version], Reach] = field(default_factory=dict)

    @property
    def versions(self) -> list[Version]:
        """The version at hand, and the other one."""
        return [NOW, *([self.before] if self.before else [])]

    def reach(self, name: str, database: str, version: Version = NOW, **settings: str) -> Reach:
        """Install Reach in a folder of its own, with an empty database and an operator's key."""
        original = self._original(database, version)
        if database == POSTGRES:
            url = create_database(self.postgres.url, like=original.database_url)
            reach = Reach(version, self.folder / name, url, settings)
        else:
            reach = Reach(version, self.folder / name, "", settings)
            for file in original.folder.glob(f"{SQLITE_NAME}*"):
                shutil.copy(file, reach.folder)
        reach.token = original.token
        return reach

    def _original(self, database: str, version: Version) -> Reach:
        """Make the one that is copied, when it is first asked for."""
        if (database, version) not in self._originals:
            url = create_database(self.postgres.url) if database == POSTGRES else ""
            reach = Reach(version, self.folder / f"original-{version.name}-{database}", url, {})
            reach.do("migrate")
            reach.make_key()
            self._originals[database, version] = reach
        return self._originals[database, version]


def titled(database: str, version: Version) -> str:
    """Name an installation by its database and, if it is not the one at hand, its version."""
    return database if version is NOW else f"{version.name}, {database}"
