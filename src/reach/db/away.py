"""What callers are told while the database cannot serve them."""

from reach.problems import Unavailable

NOT_MIGRATED = "Its schema is older than this version of Reach: run `reach migrate`."
LATE = "It did not answer in time."
UNKNOWN = "Whether the change was made is not known."


class DatabaseAway(Unavailable):
    """The database is down, locked or full. Nothing stored is lost; try again in a moment.

    Whether the change you asked for was made is unknown only if the answer says so.
    """

    type, title = "database-away", "The database is away for a moment"


class NotMigrated(Unavailable):
    """The database has not been migrated to this version of Reach yet.

    Its operator runs `reach migrate`. What met this was not done.
    """

    type, title = "not-migrated", "The database is not migrated yet"

    def __init__(self) -> None:
        """There is one thing to do about it."""
        super().__init__(NOT_MIGRATED)
