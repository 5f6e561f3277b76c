"""The application as a whole: probes, problems, and what a crash may tell."""

import pytest
from sqlalchemy import text

from reach.db.migrate import newest
from reach.problems import all_problems
from tests.servers.reach import Reach


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


@pytest.mark.parametrize("slug", sorted(all_problems()))
async def test_every_problem_has_its_page(reach: Reach, slug: str) -> None:
    """The `type` of an error leads somewhere."""
    assert (await reach.http.get(f"/problems/{slug}")).status_code == 200


async def test_a_crash_tells_nothing(reach: Reach, capfd: pytest.CaptureFixture[str]) -> None:
    """A 500 is a problem without details; the log has where, and no data."""

    async def crash(_: object) -> None:
        raise RuntimeError("canary-7f3a")

    app = reach.app
    app.state.sign_up = crash
    answer = await reach.sign_up()
    assert answer.status_code == 500
    assert answer.json()["title"] == "Something went wrong here"
    written = "".join(capfd.readouterr())
    assert "canary-7f3a" not in written + answer.text
    assert "request crashed" in written
