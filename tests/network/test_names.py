"""Looking up a name blocks nobody, whatever the name servers do."""

import asyncio
import subprocess
import sys
import threading
import time
from pathlib import Path

import anyio
import pytest

from reach.network.sockets import CannotConnect, look_up
from tests.support.network import environment_with, hosts

#: A look-up of which a test does not want the end.
LONG_SECONDS = 60


def looking_up() -> int:
    """Count the threads that ask the system."""
    return sum(thread.name == "look-up" for thread in threading.enumerate())


async def test_a_name_has_its_addresses_in_the_systems_order() -> None:
    """Each once, written as in a URL; an address is its own."""
    with hosts({"mail.test": ("::1", "127.0.0.1", "::1")}):
        found = await look_up("mail.test", 25, 5)
    assert [str(address) for address in found] == ["[::1]:25", "127.0.0.1:25"]
    assert [str(address) for address in await look_up("::1", 25, 5)] == ["[::1]:25"]
    assert [str(address) for address in await look_up("192.0.2.1", 25, 5)] == ["192.0.2.1:25"]


async def test_a_link_local_address_keeps_its_interface() -> None:
    """Without it nobody could connect there."""
    (found,) = await look_up("fe80::1%1", 25, 5)
    assert found.place[0] == "fe80::1%1"


async def test_silent_name_servers_block_nobody() -> None:
    """All who ask are answered in time, by one thread; the event loop and other names go on."""
    refused: list[str] = []
    longest_wait = 0.0

    async def ask() -> None:
        with pytest.raises(CannotConnect) as caught:
            await look_up("lost.test", 25, 0.5)
        refused.append(str(caught.value))

    with hosts({"lost.test": None, "mail.test": ("127.0.0.1",)}):
        began = time.monotonic()
        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(ask)
            while len(refused) < 50:
                before = time.monotonic()
                assert await look_up("mail.test", 25, 5)
                assert looking_up() <= 2
                longest_wait = max(longest_wait, time.monotonic() - before)
        assert 0.5 <= time.monotonic() - began < 5
        assert longest_wait < 0.5
        assert set(refused) == {"the name lost.test cannot be looked up: no answer in 0.5 s"}


async def test_who_gives_up_takes_the_answer_from_nobody() -> None:
    """One of two who wait for the same look-up is cancelled."""
    with hosts({"slow.test": None}):
        patient = asyncio.create_task(look_up("slow.test", 25, 0.3))
        hasty = asyncio.create_task(look_up("slow.test", 25, LONG_SECONDS))
        await asyncio.sleep(0)
        hasty.cancel()
        with pytest.raises(CannotConnect, match="no answer in"):
            await patient
    assert hasty.cancelled()


def test_a_process_ends_although_a_look_up_goes_on(tmp_path: Path) -> None:
    """A worker that is told to stop does not wait for a name server."""
    program = (
        "import asyncio; from reach.network.sockets import look_up\n"
        "asyncio.run(look_up('lost.test', 25, 0.1))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment_with(tmp_path / "start", {"lost.test": None}),
        capture_output=True,
        text=True,
        timeout=LONG_SECONDS,
        check=False,
    )
    assert "CannotConnect: the name lost.test cannot be looked up" in done.stderr


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nobody.test", "Name or service not known"),
        (f"{'long' * 16}.test", "it is not a name"),
        ("two..dots.test", "it is not a name"),
    ],
)
async def test_a_name_without_addresses_is_told(name: str, why: str) -> None:
    """It does not exist, or cannot."""
    with hosts({"nobody.test": ()}), pytest.raises(CannotConnect) as caught:
        await look_up(name, 25, 5)
    assert str(caught.value) == f"the name {name} cannot be looked up: {why}"
