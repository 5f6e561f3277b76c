"""Proofs of work, done by the library itself; and stamps of forms that were opened a while ago."""

import asyncio
import time
from typing import Any

from altcha import Challenge, Payload, solve_challenge

from reach.people.antispam import FORM_SECONDS, AntiSpam
from reach.settings import Settings
from tests.support.reach import Reach


async def solved(reach: Reach) -> str:
    """Ask for a challenge and solve it."""
    answer = await reach.http.get("/v1/challenge")
    return await solution(answer.raise_for_status().json())


async def solution(challenge: dict[str, Any]) -> str:
    """Solve a challenge in a thread."""
    asked = Challenge.from_dict(challenge)
    found = await asyncio.to_thread(solve_challenge, asked)
    assert found is not None
    return Payload(asked, found).to_base64()


def opened_ago(settings: Settings, seconds: float) -> str:
    """The stamp of a form that was opened so long ago."""
    return AntiSpam(settings).stamp(time.time() - seconds)


def opened_too_long_ago(settings: Settings) -> str:
    """The stamp of an old form."""
    return opened_ago(settings, FORM_SECONDS + 60)
