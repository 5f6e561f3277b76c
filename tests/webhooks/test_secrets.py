"""A webhook's secret is shown once, and no change of ours changes it behind a receiver's back."""

from pydantic import SecretStr

from reach.db.database import Database
from reach.settings import Settings
from reach.webhooks import endpoints, history, secrets
from reach.webhooks.secrets import Seals
from tests.support.clock import eventually
from tests.support.servers.receiver import Receiver
from tests.support.webhooks import add_webhook, delivering, turn_clock

NEW, OLD = "another-key-that-is-long-enough-for-tests", "a-key-that-is-long-enough-for-tests"


def with_keys(settings: Settings, *keys: str) -> Settings:
    """Have the same settings with other secret keys."""
    return settings.model_copy(update={"secret_key": SecretStr(",".join(keys))})


async def test_a_rotated_secret_signs_beside_the_old_one_for_a_day(
    database: Database, settings: Settings, receiver: Receiver
) -> None:
    """Then alone. Both are sealed: what the database holds signs nothing."""
    webhook, old = await add_webhook(database, settings, receiver.url)
    new = secrets.generate()
    rotated = await database.write(endpoints.rotate, Seals(settings), webhook.id, new)
    assert old.removeprefix("whsec_") not in f"{rotated.secret}{rotated.old_secret}"
    async with delivering(settings, database) as deliveries:
        await database.write(history.test, webhook.id)
        await eventually(lambda: len(receiver.heard) == 1)
        await turn_clock(database, 24 * 3600)
        await database.write(history.test, webhook.id)
        deliveries.wake()
        await eventually(lambda: len(receiver.heard) == 2)
    first, second = receiver.heard
    assert (first.is_signed(old), first.is_signed(new)) == (True, True)
    assert (second.is_signed(old), second.is_signed(new)) == (False, True)
    assert (first.type, first.document["data"]) == ("webhook.test", {})


async def test_a_new_secret_key_changes_no_receivers_secret(
    database: Database, settings: Settings, receiver: Receiver
) -> None:
    """A worker seals again; then the old key may go. Lost, it is said, and nothing is sent."""
    webhook, secret = await add_webhook(database, settings, receiver.url)
    async with delivering(with_keys(settings, NEW, OLD), database):
        await database.write(history.test, webhook.id)
        await eventually(lambda: len(receiver.heard) == 1)
    async with delivering(with_keys(settings, NEW), database) as deliveries:
        await database.write(history.test, webhook.id)
        deliveries.wake()
        await eventually(lambda: len(receiver.heard) == 2)
    assert all(one.is_signed(secret) for one in receiver.heard)
    await database.write(history.test, webhook.id)
    async with delivering(with_keys(settings, OLD), database):

        async def is_lost() -> bool:
            found = await database.read(endpoints.view, webhook.id)
            return found.disabled_reason == "secret"

        await eventually(is_lost)
    assert len(receiver.heard) == 2
    again = secrets.generate()
    await database.write(endpoints.rotate, Seals(settings), webhook.id, again)
    async with delivering(settings, database):
        await eventually(lambda: len(receiver.heard) == 3)
    assert receiver.heard[2].is_signed(again)
