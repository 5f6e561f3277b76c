"""Every table of Reach, of whichever domain."""

from sqlalchemy import Table

from reach.db.counters import counters

# Each tells the metadata of its own.
from reach.db.types import metadata


def kept_tables() -> list[Table]:
    """What is kept, those that others refer to first; not the tallies, which the database keeps."""
    return [table for table in metadata.sorted_tables if table is not counters]
