"""An operator at work: a client that brings its key, and what it does most."""

from typing import Any

import httpx

from tests.support.reach import ADA, Reach

NOBODY = "01a20aee-6a2a-7a2b-8fad-3dec2137a7f1"


async def operator(reach: Reach, *scopes: str) -> httpx.AsyncClient:
    """Give the client of ``reach`` a key with these scopes (all, if none is named)."""
    reach.http.headers.update(await reach.key(*scopes))
    return reach.http


async def add(http: httpx.AsyncClient, **fields: object) -> httpx.Response:
    """Add Ada, or somebody like her."""
    return await http.post("/v1/people", json={**ADA, **fields})


async def everybody(http: httpx.AsyncClient, **params: str) -> list[dict[str, Any]]:
    """List people, the newest first."""
    answer = await http.get("/v1/people", params=params)
    found: list[dict[str, Any]] = answer.raise_for_status().json()["items"]
    return found


async def owed(http: httpx.AsyncClient, **params: str) -> list[dict[str, Any]]:
    """List messages, the newest first."""
    answer = await http.get("/v1/messages", params=params)
    found: list[dict[str, Any]] = answer.raise_for_status().json()["items"]
    return found


async def templates(http: httpx.AsyncClient) -> list[str]:
    """The templates of all messages, the newest first."""
    return [message["template"] for message in await owed(http)]
