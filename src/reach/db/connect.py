"""Connecting to Postgres, by asyncpg, at the first address of a name that answers."""

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar, cast

import asyncpg

from reach.network.sockets import open_socket

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

C = TypeVar("C", bound="asyncpg.Connection[Any]")

#: How much of a host's time the network may take: what it says of each address comes in time then.
NETWORK_SHARE = 0.9


async def connect(connection_class: type[C], **arguments: Any) -> C:
    """Connect as ``asyncpg.connect`` does, to one host, within ``timeout`` (seconds).

    Raises what that raises; of its OSErrors, CannotConnect.
    """
    seconds = arguments["timeout"] * NETWORK_SHARE
    loop = _EveryAddress(asyncio.get_running_loop(), seconds)
    connection: C = await asyncpg.connect(
        loop=cast("asyncio.AbstractEventLoop", loop),
        connection_class=connection_class,
        **arguments,
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
