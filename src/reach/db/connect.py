"""Connecting to Postgres, by asyncpg, at the first address of a name that answers."""

import asyncio
from typing import TYPE_CHECKING, Any, cast

import asyncpg

from reach.network.sockets import open_socket

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

#: How much of a host's time the network may take: what it says of each address comes in time then.
NETWORK_SHARE = 0.9


async def connect(**arguments: Any) -> "asyncpg.Connection[Any]":
    """Connect as ``asyncpg.connect`` does. Raises what it raises; of its OSErrors, CannotConnect.

    asyncpg tries the hosts of a list one after the other, within one ``timeout`` (seconds): so
    that a dead one leaves time to the others, each has its share of it.
    """
    hosts = arguments.get("host")
    number = len(hosts) if isinstance(hosts, list | tuple) else 1
    seconds = arguments["timeout"] * NETWORK_SHARE / number
    loop = _EveryAddress(asyncio.get_running_loop(), seconds)
    connection: asyncpg.Connection[Any] = await asyncpg.connect(
        loop=cast("asyncio.AbstractEventLoop", loop), **arguments
    )
    return connection


class _EveryAddress:
    """The running event loop, but for the way in which it connects to a name.

    asyncpg takes no socket that is connected already, nor an address and the name of its
    certificate; but it connects by the loop that it is given, with the name that TLS needs.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    async def create_connection(
        self,
        protocol_factory: "Callable[[], asyncio.BaseProtocol]",
        host: str,
        port: int,
        *,
        ssl: "ssl.SSLContext | None" = None,
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        connected = await open_socket(host, port, seconds=self._seconds)
        try:
            return await self._loop.create_connection(
                protocol_factory,
                sock=connected,
                ssl=ssl,
                server_hostname=None if ssl is None else host,
            )
        except BaseException:
            connected.close()
            raise
