"""The application as a whole: probes, problems, and what a crash may tell."""

import re
from collections.abc import Callable

import pytest
from sqlalchemy import text

from reach.db.schema import newest
from reach.problems import all_problems
from reach.settings import Settings
from tests.support.database.locks import held
from tests.support.processes.reach import ADA, Reach, change_services, running_reach


async def test_probes(reach: Reach) -> None:
    """Alive needs nothing; ready needs a database with our tables."""
    assert (await reach.http.get("/livez")).status_code == 200
    assert (await reach.http.get("/readyz")).status_code == 200
    await reach.database.write(
        lambda tx: tx.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    )
    try:
        answer = await reach.http.get("/readyz")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert (await reach.http.get("/livez")).status_code == 200
    finally:
        await reach.database.write(
            lambda tx: tx.execute(
                text("UPDATE alembic_version SET version_num = :n"), {"n": newest()}
            )
        )


async def test_unknown_paths_and_methods_are_problems(reach: Reach) -> None:
    """JSON below /v1, whatever is asked for; a page elsewhere for a browser."""
    browser = {"Accept": "text/html"}
    missing = await reach.http.get("/v1/nothing", headers=browser)
    assert (missing.status_code, missing.json()["type"]) == (
        404,
        f"{reach.settings.origin}/problems/not-found",
    )
    page = await reach.http.get("/nothing", headers=browser)
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    wrong = await reach.http.put("/v1/signups")
    assert (wrong.status_code, wrong.json()["status"]) == (405, 405)
    assert wrong.headers["allow"] == "POST"


async def test_a_hidden_mailbox_is_not_there_for_any_method(reach: Reach) -> None:
    """Where there is none, a 405 would say that elsewhere there is."""
    for path in ("/mailbox", "/mailbox/messages", "/mailbox/messages/x/raw"):
        for method in ("GET", "HEAD", "POST", "DELETE"):
            answer = await reach.http.request(method, path)
            assert (answer.status_code, "allow" in answer.headers) == (404, False)


async def test_no_header_twice(reach: Reach) -> None:
    """Pages bring some that every answer gets."""
    for path in ("/", "/static/x", "/livez", "/v1/people", "/problems/not-found"):
        names = [name.lower() for name, _ in (await reach.http.get(path)).headers.raw]
        assert sorted(set(names)) == sorted(names), path
        assert b"x-content-type-options" in names


async def test_large_headers_are_a_431(reach: Reach) -> None:
    """32 KiB are enough for everybody, and are not looked at if there are more."""
    for size, status in ((30_000, 401), (33_000, 431)):
        answer = await reach.http.get("/v1/people", headers={"Cookie": "x" * size})
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
    many = {f"x-{n}": "" for n in range(4000)}
    assert (await reach.http.get("/", headers=many)).status_code == 431


async def test_strangers_learn_nothing_of_the_machine_room(
    sqlite: str, make_settings: Callable[..., Settings], told: Callable[[], str]
) -> None:
    """What is the matter is told to operators, and to the log; to others that it is something."""
    settings = make_settings(database_url=sqlite, database_seconds=1)
    async with running_reach(settings) as reach:
        key = await reach.key()
        async with held(settings, ""):
            stranger = await reach.sign_up()
            operator = await reach.http.post("/v1/people", json=ADA, headers=key)
            page = await reach.http.post("/", data=ADA, headers={"Accept": "text/html"})
    assert (stranger.status_code, operator.status_code, page.status_code) == (503, 503, 503)
    assert operator.json()["detail"].startswith("It ")
    assert "detail" not in stranger.json()
    assert "It is" not in page.text
    assert "It did" not in page.text
    assert len(re.findall(r'"message":"request".*"reason":"It ', told())) == 3


@pytest.mark.parametrize("slug", sorted(all_problems()))
async def test_every_problem_has_its_page(reach: Reach, slug: str) -> None:
    """The `type` of an error leads somewhere."""
    assert (await reach.http.get(f"/problems/{slug}")).status_code == 200


async def test_a_crash_tells_nothing(reach: Reach, told: Callable[[], str]) -> None:
    """A 500 is a problem without details; the log has where, and no data."""

    async def crash(*_: object) -> None:
        raise RuntimeError("canary-7f3a")

    app = reach.app
    change_services(app, sign_up=crash)
    answer = await reach.sign_up()
    assert answer.status_code == 500
    assert answer.json()["title"] == "Something went wrong here"
    written = told()
    assert "canary-7f3a" not in written + answer.text
    assert "request crashed" in written
