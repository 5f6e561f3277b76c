"""Webhooks at the console: added, the secret shown once, what was told, and told again."""

import re

import pytest

from reach.webhooks import endpoints
from tests.support.clock import eventually
from tests.support.console import at_console
from tests.support.processes.reach import Reach
from tests.support.servers.receiver import Receiver
from tests.support.webhooks import delivering

SECRET = re.compile(r"whsec_[0-9A-Za-z+/]{32}")
HERE = "/console/webhooks"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_webhook_at_the_console(reach: Reach, receiver: Receiver) -> None:
    """Each button does what it says; who may only read has none."""
    form = {"url": receiver.url, "name": "<shop>", "type.*": "yes", "once": "a-form"}
    async with at_console(reach) as console:
        wrong = await console.post(HERE, {**form, "url": "http://10.0.0.1/"})
        assert (wrong.status_code, "a private network" in wrong.text) == (422, True)
        made = await console.post(HERE, form)
        (secret,) = set(SECRET.findall(made.text))
        again = await console.post(HERE, form)
        assert (SECRET.search(again.text), "it was shown then" in again.text) == (None, True)
        (webhook,) = await reach.database.read(endpoints.every)
        page = f"{HERE}/{webhook.id}"
        assert "&lt;shop&gt;" in (await console.get(HERE)).text
        assert (await console.post(f"{page}/test")).status_code == 303
        async with delivering(reach.settings, reach.database):
            await eventually(lambda: len(receiver.taken) == 1)
            event = receiver.taken[0].id
            shown = (await console.get(page)).text
            assert event in shown
            assert secret not in shown
            await console.post(f"{page}/replay", {"event": event})
            await eventually(lambda: len(receiver.taken) == 2)
            assert receiver.taken[1].id == event
        rotated = await console.post(f"{page}/rotate", {"once": "another"})
        assert SECRET.findall(rotated.text) != [secret]
        assert "signs as well until" in rotated.text
        await console.post(f"{page}/disable")
        assert "(operator)" in (await console.get(page)).text
        assert (await console.post(f"{page}/test")).status_code == 409
        async with at_console(reach, "webhooks:read") as reader:
            assert f"{page}/enable" not in (await reader.get(page)).text
        await console.post(f"{page}/enable")
        assert "cannot be taken back" in (await console.get(f"{page}/remove")).text
        await console.post(f"{page}/remove")
        assert await reach.database.read(endpoints.every) == []
        assert (await console.get(page)).status_code == 404
