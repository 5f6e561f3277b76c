"""What is about somebody stays with those who asked: no cache on the way keeps it, no browser."""

from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from reach.mailbox.server import Mailbox
from reach.settings import Settings
from tests.support.people import Holder, by_link, holder
from tests.support.processes.reach import Reach, running_reach

MAIL = b"To: ada@example.com\r\nContent-Type: text/html\r\n\r\n<p>Hello Ada</p>"
#: What any cache may keep: it is the same for everybody, and in each version.
SHARED = {"/static/{name}", "/embed.js"}
#: What there is to be seen; were one missing, some kind of answer would not have been looked at.
STATUSES = {200, 204, 303, 304, 401, 403, 404, 405, 412, 415, 422}

Asked = tuple[str, str, dict[str, str], dict[str, str]]


@pytest.fixture
async def here(sqlite: str, make_settings: Callable[..., Settings]) -> AsyncIterator[Reach]:
    """Reach with a mailbox, in which there is a mail. What database it has says no header."""
    settings = make_settings(database_url=sqlite)
    mailbox = Mailbox(settings.data_dir / "mailbox")
    mailbox.put(MAIL)
    async with running_reach(settings, mailbox=mailbox) as reach:
        yield reach


def requests(
    reach: Reach, ada: Holder, key: dict[str, str], proof: dict[str, str]
) -> Iterator[Asked]:
    """Every address, asked by somebody who may: method, path, headers, form.

    By a stranger, by an operator, and by Ada: by program and by browser. What removes her, or voids
    her link, comes last.
    """
    link, browser = by_link(ada.token), {**ada.cookie, "Origin": reach.settings.origin}
    for path in sorted({path for _, path in reach.routes}):
        yield "HEAD", path, key, {}
        yield "PUT", path, browser, {}
    ends = ("DELETE", "removal", "links")
    # By name, for it depends on their order which answers there are.
    in_order = sorted(
        reach.routes, key=lambda one: (any(end in str(one) for end in ends), one[::-1])
    )
    for method, path in in_order:
        yield method, path, {}, {}
        yield method, path, {"Accept": "text/html"}, {}
        yield method, f"{path}?nothing=1", {**key, **link}, {}
        if path.startswith("/v1"):
            yield method, path, {**key, "If-Match": '"0.sent"'}, {}
            yield method, path, {**key, "If-None-Match": "*"}, {}
            yield method, path, {**link, "If-None-Match": "*"}, {}
            yield method, path, link, {}
            yield method, path, key, {}
        else:
            yield method, path, browser, proof


async def test_nothing_is_kept_but_what_is_named(here: Reach) -> None:
    """Every address there is, those to come too, and every caller, whatever the answer is."""
    key, ada = await here.key(), await holder(here)
    (mail,) = here.app.state.services.mailbox.list()
    places = {"{id}": str(ada.person_id), "{mail_id}": mail.id, "{slug}": "invalid"}
    places["{name}"] = here.app.state.services.pages.asset("reach.css").removeprefix("/static/")
    asked: set[int] = set()
    wrong: set[tuple[str, str, int]] = set()
    for method, path, headers, form in requests(here, ada, key, {"form": await ada.proof()}):
        url = path
        for name, value in places.items():
            url = url.replace(name, value)
        # Not to its end: one goes on for as long as somebody listens.
        async with here.http.stream(method, url, headers=headers, data=form) as answer:
            asked.add(answer.status_code)
        is_shared = path.partition("?")[0] in SHARED and answer.is_success
        if (answer.headers.get_list("cache-control") == ["no-store"]) is is_shared:
            wrong.add((method, path, answer.status_code))
    assert not wrong, sorted(wrong)
    assert asked >= STATUSES
