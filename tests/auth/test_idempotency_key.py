"""Keys in a shared commit: each member has an answer of its own, and no key costs nothing."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event

from reach.db.database import Database
from reach.idempotency.stored import Answer, KeyReused, Once
from reach.people.address import parse_address
from reach.people.signup import Knock, SignUp, knock_all, sign_up_all
from reach.settings import Settings
from tests.support.promises.stored import messages_in, opened, people_in

YES = Answer(202, "yes", (("location", "/1"), ("etag", '"1"')))


def knock(
    name: str, key: str | None = None, fingerprint: str = "f", caller: str = "c"
) -> Knock[SignUp]:
    """Make a sign-up of somebody so named."""
    email = parse_address(f"{name}@example.com")
    request = SignUp.model_construct(email=email, name=name, description=None)
    return Knock(request, Once(((caller, "/", key),), (fingerprint,)) if key else None)


@contextmanager
def statements() -> Iterator[list[str]]:
    """Note every statement that is executed meanwhile."""
    found: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        found.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def knocked(
    database: Database, settings: Settings, *knocks: Knock[SignUp]
) -> Sequence[object]:
    """Give all of them to one transaction."""
    return await database.write(knock_all, knocks, settings, YES)


async def test_one_commit_and_one_key(settings: Settings) -> None:
    """The first is done, the same again gets its answer, and another body is that member's 422."""
    async with opened(settings) as database:
        members = [
            knock("ada", "one"),
            knock("bob"),
            knock("eve", "one", "other"),
            knock("ada", "one"),
            knock("eve", "one", "other", caller="d"),
            knock("zoe", "two"),
        ]
        first = await knocked(database, settings, *members)
        again = await knocked(database, settings, *members)
        for answers in (first, again):
            assert isinstance(answers[2], KeyReused)
            assert [a for n, a in enumerate(answers) if n != 2] == [YES] * 5
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
            two = [knock(name, keys[0], caller=name), knock(name, keys[1], caller=name)]
            two[1].request.__dict__["name"] = "second"
            await knocked(database, settings, *two)
        assert [m.data["name"] for m in await messages_in(database)] == ["second", "second"]


async def test_without_a_key_nothing_more_is_done(settings: Settings) -> None:
    """The same statements as before there were keys, and none about them."""
    async with opened(settings) as database:
        await knocked(database, settings, knock("warm"))
        with statements() as with_keys:
            await knocked(database, settings, knock("ada"), knock("warm"))
        requests = [knock("bob").request, knock("warm").request]
        with statements() as without:
            await database.write(sign_up_all, requests, settings)
        assert with_keys == without
        assert "idempotency" not in "".join(with_keys)
