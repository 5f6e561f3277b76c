"""What the console says while the database does not answer."""

from collections.abc import Callable

import anyio
import pytest

from reach.console import live
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.console import at_console
from tests.support.processes.reach import running_reach


async def test_without_a_database_pages_are_answered(
    sqlite: str, make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What needs it says so, also on an open page; what is not there is not, as ever."""
    monkeypatch.setattr(live, "EVERY_SECONDS", 0.02)
    told: list[str] = []
    made = make_settings(database_url=sqlite, database_seconds=0.2)
    async with running_reach(made) as reach, at_console(reach) as console:

        async def listen() -> None:
            async with console.http.stream("GET", "/console/events") as answer:
                async for line in answer.aiter_lines():
                    told.append(line)  # noqa: PERF401 - it is read meanwhile

        async with anyio.create_task_group() as group:
            group.start_soon(listen)
            await eventually(lambda: "event: look" in told)
            await reach.database.close()
            await eventually(lambda: "event: unknown" in told)
            group.cancel_scope.cancel()
        for path, status in {"/console/site": 503, "/console/nothing": 404}.items():
            answer = await console.get(path)
            assert (answer.status_code, "<h1>" in answer.text) == (status, True)
