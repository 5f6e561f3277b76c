"""What a provider has before its servers: it ends TLS, and hands the rest on to the real one."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

#: What Postgres's clients send before TLS, and what they hear if there is some.
SSL_REQUEST, WILLING = bytes.fromhex("0000000804d2162f"), b"S"


@asynccontextmanager
async def tls_front(
    to_port: int, certificate: ssl.SSLContext, *, postgres: bool = False
) -> AsyncIterator[int]:
    """Listen on 127.0.0.1, as long as the ``with`` lasts; gives the port."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            if postgres:
                assert await reader.readexactly(len(SSL_REQUEST)) == SSL_REQUEST
                writer.write(WILLING)
                await writer.start_tls(certificate)
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", to_port)
            await asyncio.gather(_pass(reader, inner_writer), _pass(inner_reader, writer))
        writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(
        accept, "127.0.0.1", 0, ssl=None if postgres else certificate
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(1 << 16):
        writer.write(piece)
        await writer.drain()
    writer.close()
