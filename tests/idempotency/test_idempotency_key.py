"""Keys in a shared commit: each member has an answer of its own, and no key costs nothing."""

from collections import Counter
from collections.abc import Sequence

from reach.db.database import Database
from reach.idempotency.stored import IdempotencyKey, KeyReused
from reach.people.address import parse_address
from reach.people.schemas import CHECK_YOUR_INBOX, SignUp, Submission
from reach.people.signup import sign_up_all
from reach.runtime.process import opened
from reach.settings import Settings
from tests.support.database.stored import messages_in, people_in, statements


def submission(
    name: str, key: str | None = None, fingerprint: str = "f", caller: str = "c"
) -> Submission[SignUp]:
    """Make a sign-up of somebody so named."""
    email = parse_address(f"{name}@example.com")
    form = SignUp.model_construct(email=email, name=name, description=None)
    return Submission(form, IdempotencyKey(((caller, "/", key),), (fingerprint,)) if key else None)


async def signed_up(
    database: Database, settings: Settings, *submissions: Submission[SignUp]
) -> Sequence[object]:
    """Give all of them to one transaction."""
    return await database.write(sign_up_all, submissions, settings)


async def test_one_commit_and_one_key(settings: Settings) -> None:
    """The first is done, the same again gets its answer, and another body is that member's 422."""
    async with opened(settings) as database:
        members = [
            submission("ada", "one"),
            submission("bob"),
            submission("eve", "one", "other"),
            submission("ada", "one"),
            submission("eve", "one", "other", caller="d"),
            submission("zoe", "two"),
        ]
        first = await signed_up(database, settings, *members)
        again = await signed_up(database, settings, *members)
        for answers in (first, again):
            assert isinstance(answers[2], KeyReused)
            assert [a for n, a in enumerate(answers) if n != 2] == [CHECK_YOUR_INBOX] * 5
        assert sorted(await people_in(database)) == [
            f"{name}@example.com" for name in ("ada", "bob", "eve", "zoe")
        ]
        states = Counter(message.state for message in await messages_in(database))
        # Bob, who has no key, signed up again.
        assert states == {"queued": 4, "cancelled": 1}


async def test_the_last_counts_with_a_key_or_without(settings: Settings) -> None:
    """Of several for one address in one commit, keys change nothing about which is taken."""
    async with opened(settings) as database:
        for name, keys in {"ada": (None, "one"), "bob": ("one", None)}.items():
            two = [submission(name, keys[0], caller=name), submission(name, keys[1], caller=name)]
            two[1].form.__dict__["name"] = "second"
            await signed_up(database, settings, *two)
        assert [m.data["name"] for m in await messages_in(database)] == ["second", "second"]


async def test_without_a_key_nothing_is_looked_up(settings: Settings) -> None:
    """No statement is about keys; and a key adds statements about keys alone."""
    async with opened(settings) as database:
        await signed_up(database, settings, submission("warm"))
        with statements() as without:
            await signed_up(database, settings, submission("ada"), submission("warm"))
        with statements() as with_key:
            await signed_up(database, settings, submission("bob", "one"), submission("warm"))
        assert "idempotency" not in "".join(without)
        assert [said for said in with_key if "idempotency" not in said] == without
