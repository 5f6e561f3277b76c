"""What callers are told while the database is unavailable."""

import re
from pathlib import Path

from reach.problems import ServiceUnavailable
from reach.settings import Settings
from reach.texts import N_

NOT_MIGRATED = "Its schema is older than this version of Reach: run `reach migrate`."
#: What a database says its revision is; another program may keep its own in a table of that name.
REVISION = re.compile(r"[0-9]{4}")
#: Why there is no database of ours.
NO_FOLDER = "There is no such folder."
NO_FILE = "There is no such file."
EMPTY = "It is empty."
OTHERS = "It holds another program's tables, and none of Reach's."
TIMED_OUT = "It did not answer in time."
#: How another file is put in a database's place.
RESTORE = (
    "Stop all of Reach, put the right file in its place, remove the -wal and -shm beside it (but "
    "keep them if it is the file that was there before), and start Reach."
)
OUTCOME_UNKNOWN = N_("Whether the change was made is not known.")
DISK_FULL = "Its disk is full."
READ_ONLY_DATABASE = "It takes no writes now: it is a standby, or was set to be read-only."


class DatabaseUnavailable(ServiceUnavailable):
    """The database is down, locked or full. Nothing stored is lost; try again in a moment.

    Whether the change you asked for was made is unknown only if the answer says so.
    """

    type, title = "database-unavailable", N_("The database is unavailable for a moment")


class ReadOnlyDatabase(DatabaseUnavailable):
    """The database can be read, and nothing can be stored: it is a standby, or its disk is full.

    Whether the change you asked for was made is unknown only if the answer says so.
    """

    def __init__(self, reason: str, *, is_unknown: bool = False) -> None:
        """Take the reason. ``is_unknown``: it came when a change may have been made already."""
        super().__init__(OUTCOME_UNKNOWN if is_unknown else reason)
        self.reason = reason


class NoDatabase(DatabaseUnavailable):
    """There is no database of Reach where the settings say, or it does not let Reach in.

    Trying again does not help. Its operator sets REACH_DATA_DIR or REACH_DATABASE_URL, or makes a
    new one with `reach migrate`. What met this was not done.
    """

    type, title = "no-database", N_("No database of Reach is there")

    def told(self, settings: Settings) -> str:
        """Say where none is, and why; a URL with its credentials masked."""
        database = settings.database
        file = Path(database.url.database or "").absolute()
        return f"No database of Reach at {file if database.is_sqlite else database}. {self.detail}"

    def remedy(self, settings: Settings) -> str:
        """Say what to set, or to do."""
        is_named = bool(settings.database_url.get_secret_value())
        variable = "REACH_DATABASE_URL" if is_named else "REACH_DATA_DIR (or REACH_DATABASE_URL)"
        if is_named and self.detail == NO_FOLDER:
            return f"Make the folder, or set {variable} to where it is."
        may_be_new = self.detail in (NO_FOLDER, NO_FILE, EMPTY)
        migrate = "; `reach migrate` makes a new one" if may_be_new else ""
        return f"Set {variable} to where it is{migrate}."


class Replaced(NoDatabase):
    """The file of the database was replaced, and what is there now does not fit together.

    Trying again does not help. Its operator stops Reach and restores the database as the guide to
    backups says. What met this was not done, and nothing was written to either file.
    """

    type, title = "database-replaced", N_("The database file was replaced")

    def told(self, settings: Settings) -> str:
        """Say which file, and what has become of it."""
        file = Path(settings.database.url.database or "").absolute()
        return f"The database {file} was replaced. {self.detail}"

    def remedy(self, settings: Settings) -> str:
        """Say what to do."""
        return RESTORE


class NotMigrated(ServiceUnavailable):
    """The database has not been migrated to this version of Reach yet.

    Its operator runs `reach migrate`. What met this was not done.
    """

    type, title = "not-migrated", N_("The database is not migrated yet")

    def __init__(self) -> None:
        """There is one thing to do about it."""
        super().__init__(NOT_MIGRATED)
