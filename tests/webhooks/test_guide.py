"""The receiver of docs/guides/webhooks.md, as it stands there, verifies a real delivery."""

import re
import socket
import subprocess
import sys

import pytest

from reach.cli.webhooks import shown_in_list
from reach.db.database import Database
from reach.settings import Settings
from reach.webhooks import history
from tests.support.clock import eventually
from tests.support.processes.ports import free_port
from tests.support.root import ROOT
from tests.support.webhooks import add_webhook, delivering, events_in


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_receiver_of_the_guide_verifies(database: Database, settings: Settings) -> None:
    """Run by itself; what is signed otherwise it refuses."""
    guide = (ROOT / "docs/guides/webhooks.md").read_text(encoding="utf-8")
    found = re.search(r"```python\n(.*?)```", guide, re.DOTALL)
    assert found is not None
    port = free_port()
    webhook, secret = await add_webhook(database, settings, f"http://127.0.0.1:{port}/hooks")
    environment = {"SECRET": secret, "PORT": str(port)}
    command = [sys.executable, "-c", found[1]]
    with subprocess.Popen(  # noqa: ASYNC220 - it starts at once
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as receiver:
        try:
            await database.write(history.test, webhook.id)
            other, _ = await add_webhook(database, settings, webhook.url)
            await database.write(history.test, other.id)

            async def are_tried() -> bool:
                return all(row.attempts for row in await events_in(database))

            await eventually(lambda: answers(port))
            async with delivering(settings, database):
                await eventually(are_tried)
            mine, others = [
                (await database.read(history.page, one.id, limit=1))[0][0]
                for one in (webhook, other)
            ]
        finally:
            receiver.kill()
        assert receiver.stdout is not None
        assert receiver.stdout.readline() == "webhook.test {}\n"
    assert [one.status for one in mine.history] == [204]
    assert [one.status for one in others.history] == [401]
    assert shown_in_list(others)["last_answer"] == "401"


def answers(port: int) -> bool:
    """Whether somebody listens at a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
