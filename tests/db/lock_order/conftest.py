"""Two processes on Postgres, and every error of their statements."""

from collections.abc import AsyncIterator, Callable, Iterator
from urllib.parse import urlsplit

import pytest
from sqlalchemy import Engine, ExceptionContext, event

from reach.db.connect import open_database
from reach.db.database import Database
from reach.settings import Settings
from tests.support.database.locks import fetch

#: By name, what Postgres is kept from, so that it finds rows as in tables that are large; or in
#: a way that it hardly ever chooses, but may.
PLANS = {
    "small": (),
    "large": ("hashjoin", "mergejoin", "seqscan", "bitmapscan"),
    "odd": ("hashjoin", "mergejoin", "hashagg", "sort", "material"),
}


@pytest.fixture
def settings(make_settings: Callable[..., Settings], postgres: str) -> Settings:
    """Settings for Postgres."""
    return make_settings(database_url=postgres, database_seconds=15)


@pytest.fixture(params=PLANS)
async def two(
    settings: Settings, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[Database, Database]]:
    """The databases of two processes, which find rows in each of these ways."""
    switches = [f"enable_{name}" for name in PLANS[request.param]]
    name = urlsplit(settings.database_url.get_secret_value()).path[1:]
    for switch in switches:
        await fetch(settings, f"ALTER DATABASE {name} SET {switch} = off")
    one, other = open_database(settings), open_database(settings)
    yield one, other
    await one.close()
    await other.close()
    for switch in switches:
        await fetch(settings, f"ALTER DATABASE {name} RESET {switch}")


@pytest.fixture
def errors() -> Iterator[list[str]]:
    """What statements fail with, even those that are tried again: which it was, and who waited."""
    found: list[str] = []

    def note(context: ExceptionContext) -> None:
        error = context.original_exception
        detail = getattr(error.__cause__, "detail", None)
        found.append(f"{error} {detail} {context.statement}")

    event.listen(Engine, "handle_error", note)
    yield found
    event.remove(Engine, "handle_error", note)
