"""Sending one event: a POST to an address that may be reached, within bounds of time and size.

h11 speaks HTTP, as it does for uvicorn. A connection carries one request: the next attempt resolves
and judges the name again. No proxy of the environment is used: it would resolve the name by itself.
"""

import asyncio
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache

import h11

from reach.network.sockets import CannotConnect, connect_to, in_order, look_up
from reach.settings.webhooks import Allowed
from reach.webhooks.queue import AttemptResult
from reach.webhooks.targets import Forbidden, Target, require_permitted

#: For a connection and its TLS, and for all of it.
CONNECT_SECONDS, WHOLE_SECONDS = 5.0, 15.0
#: So long may the head of an answer be; so much is read of what follows, and so much of it is kept.
HEAD_BYTES, MOST_BYTES, KEPT_CHARACTERS = 16 * 1024, 4 * 1024, 200
READ_BYTES = 2048
USER_AGENT = "Reach"
GONE = 410
SUCCESS = range(200, 300)
#: Statuses whose ``Retry-After`` is the wish of the whole receiver.
BUSY = (429, 503)
MOST_RETRY_AFTER_SECONDS = 4 * 3600.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of it: see ``AttemptResult``. ``text`` is the beginning of the answer's body."""

    result: AttemptResult
    status: int | None
    text: str
    pause_seconds: float = 0.0


@cache
def tls() -> ssl.SSLContext:
    """Verify receivers by the system's certificate authorities."""
    return ssl.create_default_context()


async def post(  # noqa: PLR0913 - what is sent, whereto, and within which bounds
    target: Target,
    allowed: Allowed,
    headers: Mapping[str, str],
    body: bytes,
    *,
    whole_seconds: float = WHOLE_SECONDS,
    context: ssl.SSLContext | None = None,
) -> Answer:
    """Send it. Whatever comes of that is an answer; it raises nothing."""
    try:
        async with asyncio.timeout(whole_seconds):
            reader, writer = await _connect(target, allowed, context)
            try:
                return await _ask(reader, writer, target, headers, body)
            finally:
                writer.transport.abort()
    except Forbidden as error:
        return Answer("forbidden", None, str(error))
    except TimeoutError:
        return Answer("unreachable", None, f"no answer within {whole_seconds:g} s")
    except h11.RemoteProtocolError:
        return Answer("unreachable", None, "the answer is no HTTP, or its head is too long")
    except (OSError, asyncio.IncompleteReadError) as error:
        return Answer("unreachable", None, reason_of(error))


async def _connect(
    target: Target, allowed: Allowed, context: ssl.SSLContext | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to one of the addresses that were judged. Raises Forbidden; OSError; TimeoutError."""
    began = time.monotonic()
    addresses = await look_up(target.host, target.port, CONNECT_SECONDS)
    require_permitted(target, addresses, allowed)
    left = max(CONNECT_SECONDS - (time.monotonic() - began), 0.1)
    connected = await connect_to(target.host, in_order(addresses), seconds=left)
    try:
        if not target.is_tls:
            return await asyncio.open_connection(sock=connected)
        left = max(CONNECT_SECONDS - (time.monotonic() - began), 0.1)
        return await asyncio.open_connection(
            sock=connected,
            ssl=context or tls(),
            server_hostname=target.host,
            ssl_handshake_timeout=left,
        )
    except BaseException:
        connected.close()
        raise


async def _ask(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    target: Target,
    headers: Mapping[str, str],
    body: bytes,
) -> Answer:
    """Send the request, and read the beginning of what comes. Raises h11's and the system's."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)
    named = {
        "Host": target.authority,
        "User-Agent": USER_AGENT,
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Accept-Encoding": "identity",
        "Connection": "close",
        **headers,
    }
    request = h11.Request(method="POST", target=target.path, headers=list(named.items()))
    for part in (request, h11.Data(data=body), h11.EndOfMessage()):
        writer.write(connection.send(part) or b"")
    with suppress(ConnectionError):  # who has read enough may hang up: there may be an answer yet
        await writer.drain()
    response = await _head(reader, connection)
    return _answer(response, await _body(reader, connection))


async def _head(reader: asyncio.StreamReader, connection: h11.Connection) -> h11.Response:
    """Read an answer's head. Raises h11's if it is no HTTP, or too long."""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Response):
            return event
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(READ_BYTES))
        elif isinstance(event, h11.ConnectionClosed):
            raise h11.RemoteProtocolError("no answer")


async def _body(reader: asyncio.StreamReader, connection: h11.Connection) -> bytes:
    """Read the beginning of what follows. That it is cut off or broken is no matter here."""
    text, total = bytearray(), 0
    with suppress(h11.RemoteProtocolError, OSError):
        while total < MOST_BYTES:
            event = connection.next_event()
            if isinstance(event, h11.Data):
                text += event.data
            elif event is not h11.NEED_DATA:
                break
            elif data := await reader.read(READ_BYTES):
                total += len(data)
                connection.receive_data(data)
            else:
                break
    return bytes(text)


def _answer(response: h11.Response, body: bytes) -> Answer:
    """Judge an answer: success is 2xx alone. Where a redirect leads is not looked at."""
    status = response.status_code
    result: AttemptResult = "refused"
    if status in SUCCESS:
        result = "delivered"
    elif status == GONE:
        result = "gone"
    found = dict(response.headers)
    wish = found.get(b"retry-after", b"").decode("latin-1") if status in BUSY else ""
    text = body.decode("utf-8", "replace")[:KEPT_CHARACTERS]
    shown = "".join(one if one.isprintable() else " " for one in text)
    return Answer(result, status, shown, retry_after_seconds(wish))


def retry_after_seconds(text: str) -> float:
    """Read ``Retry-After`` (RFC 9110 §10.2.3), up to four hours; 0 for what cannot be read."""
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), MOST_RETRY_AFTER_SECONDS)
    try:
        seconds = parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), MOST_RETRY_AFTER_SECONDS)


def reason_of(error: Exception) -> str:
    """Say why there was no answer, in few words of the system's; no address is in them."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason})"
    if isinstance(error, CannotConnect):
        return "it cannot be reached"
    return getattr(error, "strerror", None) or type(error).__name__
