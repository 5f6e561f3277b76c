"""Connecting to the first address of a name that answers (RFC 8305, "Happy Eyeballs").

A name may have many addresses, and some may be dead: the network drops what is sent to them, so
that only time tells. They are therefore tried one beside the other. An address that did not
answer is remembered for a while, and tried last, so that the next connection does not wait for it.
"""

import asyncio
import os
import socket
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import zip_longest
from threading import Thread
from typing import Any

import anyio
import structlog

#: How many parts the place of an IPv4 socket has.
HOST_AND_PORT = 2


class CannotConnect(OSError):
    """No address of a server can be reached; ``str()`` names each of them, and says why."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where one of the servers behind a name listens; written as in a URL: ``[::1]:25``."""

    family: socket.AddressFamily
    #: As sockets take it: host, port, and for IPv6 flow and scope.
    place: tuple[Any, ...]

    def __str__(self) -> str:
        """Write the address and the port."""
        host, port = self.place[:2]
        return f"[{host}]:{port}" if self.family == socket.AF_INET6 else f"{host}:{port}"


_under_way: dict[tuple[str, int], Future[Sequence[Address]]] = {}


async def look_up(host: str, port: int, seconds: float) -> Sequence[Address]:
    """Find the addresses of ``host``, in the order in which the system would try them.

    Raises CannotConnect, within ``seconds``.
    """
    try:
        return _ask(host, port, socket.AI_NUMERICHOST)  # an address needs no look-up
    except (socket.gaierror, ValueError):
        answer = asyncio.wrap_future(_asked(host, port))
    try:
        return await asyncio.wait_for(answer, seconds)
    except TimeoutError:
        why = f"no answer in {seconds:.3g} s"
    except ValueError:  # a part of it is empty, say, or longer than 63 octets
        why = "it is not a name"
    except OSError as error:
        why = error.strerror or str(error)
    raise CannotConnect(f"the name {host} cannot be looked up: {why}") from None


def _asked(host: str, port: int) -> Future[Sequence[Address]]:
    """Have the system asked, unless it is being asked already."""
    name = host, port
    answer = _under_way.get(name)
    if answer is None:
        answer = _under_way[name] = Future()
        answer.set_running_or_notify_cancel()  # now one who gives up takes it from nobody else
        try:
            Thread(target=_answer, args=(name, answer), name="look-up", daemon=True).start()
        except RuntimeError:  # a limit of the system's
            del _under_way[name]
            answer.set_exception(OSError("no thread can be started"))
    return answer


def _answer(name: tuple[str, int], answer: Future[Sequence[Address]]) -> None:
    try:
        found = _ask(*name)
    except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
        del _under_way[name]
        answer.set_exception(error)
    else:
        del _under_way[name]
        answer.set_result(found)


def _ask(host: str, port: int, flags: int = 0) -> Sequence[Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return list(dict.fromkeys(Address(family, _scoped(place)) for family, _, _, _, place in found))


def _scoped(place: tuple[Any, ...]) -> tuple[Any, ...]:
    """Write the scope (a link-local address's interface) into the host: uvloop reads no more."""
    host, *_, scope = place
    return (f"{host}%{scope}", *place[1:]) if len(place) > HOST_AND_PORT and scope else place


log = structlog.get_logger("reach.network")

#: How long an address has before the next one is tried beside it (RFC 8305 §8: 250 ms, and never
#: less than 10 ms).
NEXT_SECONDS, LEAST_NEXT_SECONDS = 0.25, 0.01
#: What a timer may be early by.
TIMER_SECONDS = 0.005
#: How long an address that did not answer is tried last. (RFC 8305 §4 lets history count.)
LAST_SECONDS = 600

#: Addresses that did not answer, and until when they are tried last (``time.monotonic()``).
_silent: dict[Address, float] = {}
#: Servers, by name and port, that were not reached when this was last tried: it is told once.
_lost: set[tuple[str, int]] = set()


async def open_socket(
    host: str, port: int, *, seconds: float, next_seconds: float = NEXT_SECONDS
) -> socket.socket:
    """Connect to ``host``; the socket does not block, and sends what is small at once.

    Raises CannotConnect, within ``seconds``, the look-up included.
    """
    server = host, port
    try:
        connected = await _connect(host, port, seconds, next_seconds)
    except CannotConnect as error:
        if server not in _lost:
            _lost.add(server)
            log.warning("a server cannot be reached", reason=str(error))
        raise
    if server in _lost:
        _lost.remove(server)
        log.info("a server is reached again", reason=f"{host}:{port}")
    return connected


async def _connect(host: str, port: int, seconds: float, next_seconds: float) -> socket.socket:
    gives_up_at = time.monotonic() + seconds
    addresses = await look_up(host, port, seconds)
    left = max(gives_up_at - time.monotonic(), LEAST_NEXT_SECONDS)
    return await connect_to(host, addresses, seconds=left, next_seconds=next_seconds)


async def connect_to(
    host: str, addresses: Sequence[Address], *, seconds: float, next_seconds: float = NEXT_SECONDS
) -> socket.socket:
    """Connect to one of the addresses of ``host``, and to no other. Raises CannotConnect."""
    # Each must have its turn before the time is over.
    pause = max(min(next_seconds, seconds / len(addresses)), LEAST_NEXT_SECONDS)
    attempts = [Attempt(address) for address in in_order(addresses)]
    try:
        connected = await _race(attempts, pause, seconds)
    finally:
        _remember(host, attempts, pause)
    if connected is None:
        each = "; ".join(f"{attempt.address}: {attempt.reason}" for attempt in attempts)
        raise CannotConnect(f"{host} cannot be reached: {each}")
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connected


async def try_each(host: str, port: int, seconds: float) -> Sequence["Attempt"]:
    """Try every address of ``host``, whether or not another one answers.

    Raises CannotConnect if it has none.
    """
    attempts = [Attempt(address) for address in await look_up(host, port, seconds)]
    try:
        with anyio.move_on_after(seconds):
            async with anyio.create_task_group() as group:
                for attempt in attempts:
                    group.start_soon(attempt.run)
    finally:
        for attempt in attempts:
            if attempt.connected is not None:
                attempt.connected.close()
    return attempts


def in_order(addresses: Sequence[Address]) -> Sequence[Address]:
    """Take one of each family in turn (RFC 8305 §4), then those that did not answer of late."""
    families = list(dict.fromkeys(address.family for address in addresses))
    apart = [[each for each in addresses if each.family == family] for family in families]
    mixed = [each for turn in zip_longest(*apart) for each in turn if each is not None]
    return sorted(mixed, key=lambda address: _silent.get(address, 0) > time.monotonic())


class Attempt:
    """Connecting to one address."""

    def __init__(self, address: Address) -> None:
        """Do nothing yet."""
        self.address = address
        self.connected: socket.socket | None = None
        #: Set when it has failed: the next one need not wait.
        self.failed = anyio.Event()
        self._failure = ""
        self._began_at: float | None = None
        self._ended_at: float | None = None

    @property
    def seconds(self) -> float:
        """How long it has taken, or takes already."""
        if self._began_at is None:
            return 0
        return (self._ended_at or time.monotonic()) - self._began_at

    @property
    def reason(self) -> str:
        """Say why there is no connection."""
        if self._began_at is None:
            return "not tried"
        return self._failure or f"no answer in {self.seconds:.3g} s"

    @property
    def was_refused(self) -> bool:
        """Whether it was told that there is no way, as opposed to told nothing."""
        return self._failure != ""

    async def run(self) -> None:
        """Connect, or fail. Raises nothing but a cancellation."""
        self._began_at = time.monotonic()
        candidate: socket.socket | None = None
        try:
            candidate = socket.socket(self.address.family, socket.SOCK_STREAM)
            candidate.settimeout(0)
            await asyncio.get_running_loop().sock_connect(candidate, self.address.place)
            self.connected = candidate
        except (OSError, RuntimeError) as error:  # RuntimeError: some of uvloop's
            number = getattr(error, "errno", None)
            self._failure = os.strerror(number) if number else str(error)
            self.failed.set()
        finally:
            self._ended_at = time.monotonic()
            if candidate is not None and self.connected is None:
                candidate.close()


async def _race(attempts: Sequence[Attempt], pause: float, seconds: float) -> socket.socket | None:
    """Start one after the other, and keep the first that connects; None if none did in time."""
    won: socket.socket | None = None
    try:
        with anyio.move_on_after(seconds):
            if len(attempts) == 1:  # a race with nobody costs more than connecting
                await attempts[0].run()
            else:
                await _stagger(attempts, pause)
        won = next((each.connected for each in attempts if each.connected), None)
    finally:
        for attempt in attempts:  # two may connect at the same moment; all, if we are cancelled
            if attempt.connected is not None and attempt.connected is not won:
                attempt.connected.close()
    return won


async def _stagger(attempts: Sequence[Attempt], pause: float) -> None:
    """Start each ``pause`` after the one before, or when that has failed, until one connects."""

    async def run(attempt: Attempt, others: anyio.CancelScope) -> None:
        await attempt.run()
        if attempt.connected is not None:
            others.cancel()

    async with anyio.create_task_group() as group:
        for attempt in attempts:
            group.start_soon(run, attempt, group.cancel_scope)
            # By its own time: in a busy loop it begins late, and timers end early.
            while not attempt.failed.is_set() and attempt.seconds < pause:
                with anyio.move_on_after(pause - attempt.seconds):
                    await attempt.failed.wait()


def _remember(host: str, attempts: Sequence[Attempt], pause: float) -> None:
    """Tell, once, which addresses do not answer, and which do so again.

    One that refuses costs no time: ``localhost``, say, of which a server listens to one half.
    The last one's turn ends with the time for all, by a timer, which may be early by a moment.
    """
    now = time.monotonic()
    for attempt in attempts:
        of_host = f"{attempt.address} ({host})"
        if attempt.connected is not None:
            if _silent.pop(attempt.address, None) is not None:
                log.info("an address answers again", reason=of_host)
        elif not attempt.was_refused and attempt.seconds >= pause - TIMER_SECONDS:
            if _silent.get(attempt.address, 0) < now:
                log.warning("an address does not answer", reason=f"{of_host}: {attempt.reason}")
            _silent[attempt.address] = now + LAST_SECONDS
    for address in [each for each, until in _silent.items() if until < now]:
        del _silent[address]
