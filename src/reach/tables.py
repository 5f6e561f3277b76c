"""Every table of Reach, of whichever domain."""

from sqlalchemy import Table

import reach.auth.keys

# Each tells the metadata of its own.
import reach.idempotency.stored
import reach.people.antispam  # noqa: F401 - see above
from reach.db.counters import counters
from reach.db.types import metadata


def kept_tables() -> list[Table]:
    """What is kept, those that others refer to first; not the tallies, which the database keeps."""
    return [table for table in metadata.sorted_tables if table is not counters]
