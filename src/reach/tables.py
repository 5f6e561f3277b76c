"""Every table of Reach, of whichever domain."""

from sqlalchemy import Table

# Each tells the metadata of its own.
import reach.access.answers
import reach.auth.keys
import reach.people.link_requests
import reach.people.model
import reach.people.proofs  # noqa: F401 - see above
from reach.db.counters import counters
from reach.db.types import metadata


def kept_tables() -> list[Table]:
    """What is kept, those that others refer to first; not the tallies, which the database keeps."""
    return [table for table in metadata.sorted_tables if table is not counters]
