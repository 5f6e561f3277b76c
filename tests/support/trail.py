"""What the audit trail says."""

from collections.abc import Sequence

from reach.auth import audit
from reach.auth.audit import Entry, Filter
from reach.db.database import Database

MOST = 100


async def trail(database: Database, chosen_by: Filter | None = None) -> Sequence[Entry]:
    """Read all entries that a filter finds, or all there are, newest first."""
    found, on = await database.read(audit.page, chosen_by or Filter(), limit=MOST)
    assert on is None, "more than a test looks at"
    return found
