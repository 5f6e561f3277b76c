"""`reach suppressions`, through real processes."""

import pytest

from reach.db.database import Database
from reach.messages.outcome import Sent
from reach.settings import Settings
from tests.support.database.outboxes import Outbox
from tests.support.processes.answers import answer_of
from tests.support.processes.commands import run
from tests.support.reported import NO_SUCH_USER, report


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_addresses_are_listed_added_and_lifted(
    settings: Settings, database: Database
) -> None:
    """As the API does it; the message shows what was reported of it."""
    outbox = Outbox(database, settings)
    (message,) = await outbox.fill()
    await outbox.record(await outbox.lease_one(), Sent("250 2.0.0 taken", 250, "2.0.0"))
    await report(database, message.id)
    found = answer_of("messages", "show", str(message.id), settings=settings)
    assert (found["state"], found["reports"][0]["text"]) == ("bounced", NO_SUCH_USER)
    added = answer_of(
        "suppressions", "add", "Bob@example.com", "--note", "By letter.", settings=settings
    )
    assert (added["email"], added["cause"]) == ("bob@example.com", "operator")
    (listed,) = answer_of("suppressions", "list", "--cause", "bounced", settings=settings)
    assert (listed["email"], listed["text"]) == (message.recipient, NO_SUCH_USER)
    would = answer_of("suppressions", "lift", message.recipient, "--dry-run", settings=settings)
    assert would == {**listed, "dry_run": True}
    code, output = run("suppressions", "lift", listed["id"], "--yes", settings=settings)
    assert (code, output) == (0, f"Now lifted: {message.recipient} (bounced).\n")
    code, output = run("suppressions", "show", "BOB@example.com", "--quiet", settings=settings)
    assert (code, output) == (0, f"{added['id']}\n")
