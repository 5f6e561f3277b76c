"""Looking up a server's name: off the event loop, within a limit, each name once at a time.

The system's ``getaddrinfo`` is asked, so that ``/etc/hosts``, search domains and the rest count as
they do for other programs. It cannot be cancelled, and may take half a minute when no name server
answers. So it runs in a thread that nobody has to wait for, not even the end of the process; all
who ask for a name meanwhile wait for the same answer, so that there is one such thread for each
name at most. (uvloop's own look-ups share two threads between all names: one name whose servers
are silent would keep every other from being looked up.)
"""

import asyncio
import socket
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Thread
from typing import Any

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
