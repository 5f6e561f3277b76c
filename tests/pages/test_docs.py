"""The page of the API: its own scripts, from this server, and nobody else's; how to begin."""

import asyncio
import json
import os
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path

from playwright.async_api import Browser, expect

from reach.settings import Settings
from tests.support.processes.reach import Reach, running_reach
from tests.support.servers.browser import visiting


async def test_only_the_scripts_of_this_page_may_run(reach: Reach) -> None:
    """Each answer has a nonce of its own, and each script bears it; none is written inline."""
    nonces = set()
    for _ in range(3):
        answer = await reach.http.get("/docs")
        policy = answer.headers["content-security-policy"]
        (nonce,) = re.findall(r"script-src 'nonce-([\w-]{22})';", policy)
        assert "unsafe" not in policy
        assert "http" not in policy
        scripts = re.findall(r"<script[^>]*>[^<]*</script>", answer.text)
        assert len(scripts) == 2
        for script in scripts:
            assert re.fullmatch(rf'<script nonce="{nonce}" src="/static/[\w.-]+"></script>', script)
        nonces.add(nonce)
    assert len(nonces) == 3


async def test_what_it_loads_is_here(reach: Reach) -> None:
    """Every script and sheet is served by Reach, to be kept for ever under its name."""
    page = (await reach.http.get("/docs")).text
    names = re.findall(r'(?:src|href)="(/[^"?]+)"', page.partition("<footer")[0])
    assert len(names) == 7
    assert not re.search(r'(href|src)="(?!/)', page)
    for name in names:
        answer = await reach.http.get(name, headers={"Accept": "text/html"})
        assert answer.status_code == 200
        if name.startswith("/static/"):
            assert "immutable" in answer.headers["cache-control"]
            kind = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
            assert answer.headers["content-type"].startswith(kind[name.rpartition(".")[2]])
    assert (await reach.http.head("/docs")).status_code == 200


async def test_the_first_screen_can_be_followed(reach: Reach, tmp_path: Path) -> None:
    """Each command on it does what is said, as it is written, where `make run` keeps the key."""
    folder = tmp_path / "reach-data"
    folder.mkdir(exist_ok=True)
    key = (await reach.key())["Authorization"].removeprefix("Bearer ")
    (folder / "operator-key").write_text(f"{key}\n")
    page = (await reach.http.get("/docs")).text
    commands = [unescape(one) for one in re.findall("<pre><code>(.*?)</code>", page, re.DOTALL)]
    answers = [json.loads(await _shell(command, tmp_path)) for command in commands]
    assert answers[0] == {"message": "Check your inbox."}
    assert [person["email"] for person in answers[1]["items"]] == ["ada@example.com"]
    assert len(answers) == 2


async def _shell(command: str, folder: Path) -> bytes:
    """Run what a page says, as a reader would type it. Raises AssertionError if it fails."""
    process = await asyncio.create_subprocess_shell(
        f"{command} --silent --show-error --noproxy '*'",
        stdout=asyncio.subprocess.PIPE,
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, command
    return said


async def test_calls_are_tried_where_the_page_is_from(
    sqlite: str, make_settings: Callable[..., Settings], browser: Browser
) -> None:
    """Not at the address that others use, which the page's policy would not let it ask."""
    settings = make_settings(database_url=sqlite, public_url="https://signup.example.com")
    async with running_reach(settings) as reach, visiting(browser) as visit:
        await visit.page.goto(f"http://127.0.0.1:{reach.settings.port}/docs")
        await visit.page.get_by_text("Get a proof of work to do").click()
        await visit.page.get_by_role("button", name="Execute").click()
        answer = visit.page.locator(".live-responses-table td.response-col_status:not(.col_header)")
        await expect(answer.first).to_contain_text("404")
