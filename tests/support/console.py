"""An operator at the console, with what a browser sends: a cookie, ``Origin``, a form's proof."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

from reach.console.guard import cookie_name
from reach.console.safety import FIELD, SIGN_IN
from tests.support.http.clients import NO_CERTIFICATES
from tests.support.processes.reach import Reach

PROOF = re.compile(rf'name="{FIELD}" value="([0-9a-f]+)"')


@dataclass
class Console:
    """Somebody at the console; their proof is known once they are signed in."""

    http: httpx.AsyncClient
    origin: str
    cookie: str
    proof: str = ""
    key: str = field(default="", repr=False)

    async def sign_in(self, key: str, back: str = "", **headers: str) -> httpx.Response:
        """Type a key into the form."""
        form = {"key": key, "next": back}
        said = {"Origin": self.origin, **headers}
        answer = await self.http.post(SIGN_IN, data=form, headers=said)
        if self.cookie in answer.cookies:
            page = await self.get("/console/site")
            found = PROOF.search(page.text)
            assert found
            self.proof, self.key = found[1], key
        return answer

    async def get(self, path: str, **headers: str) -> httpx.Response:
        """Open a page."""
        return await self.http.get(path, headers=headers)

    async def post(
        self, path: str, form: Mapping[str, str] | None = None, **headers: str
    ) -> httpx.Response:
        """Send one of the session's forms."""
        data = {FIELD: self.proof, **(form or {})}
        return await self.http.post(path, data=data, headers={"Origin": self.origin, **headers})


@asynccontextmanager
async def at_console(reach: Reach, *scopes: str, signed_in: bool = True) -> AsyncIterator[Console]:
    """Stand at the console with a key of these scopes (all, if none is named)."""
    origin = reach.settings.origin
    async with httpx.AsyncClient(
        base_url=origin, verify=NO_CERTIFICATES, trust_env=False, timeout=20
    ) as http:
        console = Console(http, origin, cookie_name(reach.settings))
        if signed_in:
            key = (await reach.key(*scopes))["Authorization"].removeprefix("Bearer ")
            answer = await console.sign_in(key)
            assert answer.status_code == 303, answer.text
        yield console
