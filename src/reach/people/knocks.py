"""What is done for everybody who knocks at the door, by page or API."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Protocol

from reach.db.database import Database
from reach.idempotency import stored as answers
from reach.idempotency.stored import Answer, Once
from reach.people import signup as counts
from reach.people.antispam import DisposableDomains, Hidden, Robots
from reach.people.links import ask_all
from reach.people.schemas import DoorLinkRequest, DoorSignUp
from reach.people.signup import Knock, knock_all
from reach.problems import Unprocessable
from reach.settings import Settings

#: Longer than a sign-up takes on an idle machine, whoever signs up; a busy one hides it anyhow.
ANSWER_SECONDS = 0.005

#: It names none of them: who may sign up here is for the operator to tell.
ELSEWHERE = "Addresses at this domain cannot sign up here."

#: A commit that many share; a refusal of one of them is raised for that one.
Group = Callable[[Knock[Any]], Awaitable[Any]]


class Knocking(Protocol):
    """Do what a form asks for; when it returns, that is on disk."""

    async def __call__(self, form: Any, once: Once | None = None) -> Answer:
        """Raise Unprocessable: KeyReused if ``once`` is another request's; SendAgain."""


class Knocks:
    """Takes forms in: who fell into the trap is turned away, and everybody else's share commits.

    The answer is the same for all of them, and comes after the same time.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        robots: Robots,
        *,
        signed_up: Answer,
        asked: Answer,
    ) -> None:
        """Answer everybody who signs up, and everybody who asks for a link, with these.

        Raises BadSettings if the list of domains is bad.
        """
        self._database, self._robots = database, robots
        self._signed_up, self._asked = signed_up, asked
        self._disposable = DisposableDomains.read(settings.disposable_domains_file)
        self._only = settings.sign_up_domains
        self._signs_up = database.group(partial(knock_all, settings=settings, answer=signed_up))
        self._asks = database.group(partial(ask_all, settings=settings, answer=asked))

    async def sign_up(self, form: DoorSignUp, once: Once | None = None) -> Answer:
        """Sign somebody up. Raises as Knocking, and for a domain that cannot."""
        if self._only and form.email.domain not in self._only:
            raise Unprocessable(errors=[{"pointer": "/email", "detail": ELSEWHERE}])
        self._disposable.refuse(form.email)
        return await self._knock(
            self._signs_up, form, once, self._signed_up, on_robot=counts.ROBOT.inc
        )

    async def request_link(self, form: DoorLinkRequest, once: Once | None = None) -> Answer:
        """Have a link sent, if the address is somebody's. Raises as Knocking."""
        return await self._knock(self._asks, form, once, self._asked)

    async def _knock(
        self,
        group: Group,
        form: Hidden,
        once: Once | None,
        usual: Answer,
        on_robot: Callable[[], None] = lambda: None,
    ) -> Answer:
        async with in_one_time():
            try:
                if self._robots.turn_away(form):
                    on_robot()
                    return usual
            except Unprocessable:
                # It has grown old, say; but it may have been answered while it was new.
                kept = None if once is None else await self._database.read(answers.find, once)
                if kept is None:
                    raise
                return kept
            answer: Answer = await group(Knock(form, once))
            return answer


@asynccontextmanager
async def in_one_time() -> AsyncIterator[None]:
    """Answer no sooner than 5 ms after the work has begun: each address's is another work.

    The time is set beforehand. What was left of it, once the work is done, the event loop would
    round to milliseconds, and so tell how long the work took.
    """
    is_time = asyncio.Event()
    timer = asyncio.get_running_loop().call_later(ANSWER_SECONDS, is_time.set)
    try:
        yield
        await is_time.wait()
    finally:
        timer.cancel()
