"""What is reported of messages after they were sent."""

from uuid import UUID

from reach.db.database import Database
from reach.reports.model import Category, Clues, Kind, Report, Verdict
from reach.reports.record import Claim, record_all

NO_SUCH_USER = "550 5.1.1 No such user"


async def report(
    database: Database,
    message_id: UUID | str,
    kind: Kind = "bounced",
    category: Category | None = "permanent",
) -> str:
    """Have something reported of a message that was sent, by a signature of ours."""
    verdict = Verdict(kind, category, None, None, 550, "5.1.1", NO_SUCH_USER)
    about = Report("dsn", Clues(), (verdict,))
    claim = Claim(about, UUID(str(message_id)), (), is_verified=False)
    (taken,) = await database.write(record_all, [claim])
    return taken
