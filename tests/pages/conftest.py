"""The pages in an app of their own, without what Reach keeps behind them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from reach.messages.mailbox import Mailbox
from reach.pages import mailbox, public
from reach.people.antispam import Robots
from reach.people.signup import SignUp
from reach.problems import Problem
from reach.settings import Settings
from reach.web.body import BODY_SECONDS
from reach.web.html import prefers_html, problem_page
from reach.web.middleware import Envelope


@dataclass
class Site:
    """The pages, and what they were told.

    ``failure`` is raised by the next sign-ups.
    """

    app: FastAPI
    mailbox: Mailbox
    signed_up: list[SignUp] = field(default_factory=list)
    failure: Problem | None = None

    def client(self, peer: str = "127.0.0.1", host: str = "127.0.0.1:8000") -> httpx.AsyncClient:
        """Speak with the pages as ``peer``, calling them ``host``."""
        transport = httpx.ASGITransport(app=self.app, client=(peer, 1))
        return httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:8000", headers={"Host": host}
        )

    async def sign_up(self, request: SignUp) -> None:
        """Stand where ``app`` puts the real one."""
        if self.failure:
            raise self.failure
        self.signed_up.append(request)


async def answer_problem(request: Request, problem: Exception) -> Response:
    """Answer as ``app`` does."""
    assert isinstance(problem, Problem)
    if prefers_html(request):
        return problem_page(problem)
    return JSONResponse({"type": problem.type}, problem.status)


@pytest.fixture
def make_site(tmp_path: Path) -> Callable[..., Site]:
    """Make the pages; takes settings by name."""

    def make(**changes: object) -> Site:
        given = {"data_dir": tmp_path, "secret_key": "a-key-that-is-long-enough", **changes}
        settings = Settings(**given)  # type: ignore[arg-type]
        app = FastAPI()
        site = Site(app, Mailbox(tmp_path / "mailbox"))
        app.include_router(public.router)
        app.include_router(mailbox.router)
        app.add_exception_handler(Problem, answer_problem)
        app.add_middleware(Envelope, answer_problem=answer_problem, settings=settings)
        app.state.settings = settings
        app.state.robots = Robots(settings)
        app.state.mailbox = site.mailbox
        app.state.sign_up = site.sign_up
        app.state.body_seconds = BODY_SECONDS
        return site

    return make


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    """The pages, as settings make them by default."""
    return make_site()
