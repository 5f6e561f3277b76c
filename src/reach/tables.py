"""Every table of Reach, of whichever domain."""

from sqlalchemy import Table

# Each tells the metadata of its own.
import reach.access.answers
import reach.auth.keys
import reach.people.link_requests
import reach.people.model
import reach.people.proofs
from reach.db.columns import metadata
from reach.db.counters import counters


def kept_tables() -> list[Table]:
    """List the tables to copy, those that others refer to first. Counters count by themselves."""
    return [table for table in metadata.sorted_tables if table is not counters]
