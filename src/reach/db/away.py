"""What callers are told while the database cannot serve them."""

from reach.problems import Unavailable

NOT_MIGRATED = "Its schema is older than this version of Reach: run `reach migrate`."
HALF_COPIED = "Run the same `reach db copy` again, to its end."
#: What such a database says its revision is: older than any, also for versions of before.
COPYING = "0000-copying"
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


class HalfCopied(NotMigrated):
    """The database holds an unfinished copy of another one.

    Its operator runs the same `reach db copy` again, to its end. What met this was not done.
    """

    type, title = "half-copied", "The database holds half a copy of another one"

    def __init__(self) -> None:
        """There is one thing to do about it."""
        Unavailable.__init__(self, HALF_COPIED)
