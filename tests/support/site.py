"""The pages in an app of their own, without what Reach keeps behind them."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
from fastapi import FastAPI

from reach.app import services_for
from reach.db.connect import open_database
from reach.idempotency.stored import IdempotencyKey, StoredResponse
from reach.mailbox import pages as mailbox
from reach.mailbox import previews
from reach.mailbox.server import Mailbox
from reach.pages import embed, public
from reach.people.schemas import CHECK_YOUR_INBOX, SignUp
from reach.problems import Problem
from reach.settings import Settings
from reach.web.errors import answer_problem
from reach.web.middleware import RequestRecord


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

    async def sign_up(
        self, form: SignUp, key: IdempotencyKey | None = None, evidence: object = None
    ) -> StoredResponse:
        """Stand where ``app`` puts the real one."""
        assert key is None
        if self.failure:
            raise self.failure
        self.signed_up.append(form)
        return CHECK_YOUR_INBOX


def site_in(folder: Path, **changes: object) -> Site:
    """Make the pages of these settings; ``folder`` is their data directory."""
    given = {"data_dir": folder, "secret_key": "a-key-that-is-long-enough", **changes}
    settings = Settings(**given)  # type: ignore[arg-type]
    app = FastAPI()
    site = Site(app, Mailbox(folder / "mailbox"))
    app.include_router(public.router)
    app.include_router(embed.router)
    app.include_router(mailbox.router)
    app.include_router(previews.router)
    app.exception_handler(Problem)(answer_problem)
    services = services_for(settings, open_database(settings), site.mailbox)
    app.state.services = replace(services, sign_up=site.sign_up)
    app.add_middleware(RequestRecord, settings=settings, limiter=services.limiter)
    return site
