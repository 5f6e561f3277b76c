"""The bare server: what uvicorn alone takes, as ASGI and with FastAPI; it stores nothing.

python -m benchmarks.bare PORT asgi|fastapi PROCESSES
"""

import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn
from fastapi import FastAPI

Event = MutableMapping[str, Any]
BODY = b'{"message":"Check your inbox."}'
HEAD = [(b"content-length", str(len(BODY)).encode()), (b"content-type", b"application/json")]

fastapi = FastAPI()


@fastapi.post("/v1/signups", status_code=202)
async def post_signup(body: dict[str, Any]) -> dict[str, str]:
    """Take a body, store nothing."""
    return {"message": f"Check your inbox, {len(body)}."}


async def asgi(
    scope: Event, receive: Callable[[], Awaitable[Event]], send: Callable[[Event], Awaitable[None]]
) -> None:
    """Read the body, and answer: 202 to a POST, else 200."""
    while (await receive()).get("more_body"):
        pass
    status = 202 if scope["method"] == "POST" else 200
    await send({"type": "http.response.start", "status": status, "headers": HEAD})
    await send({"type": "http.response.body", "body": BODY})


if __name__ == "__main__":
    _, port, application, processes = sys.argv
    uvicorn.run(
        f"benchmarks.bare:{application}",
        port=int(port),
        workers=int(processes),
        log_level="warning",
        access_log=False,
        lifespan="off",
    )
