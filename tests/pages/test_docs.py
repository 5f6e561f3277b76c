"""The page of the API: its own scripts, from this server, and nobody else's."""

import re

from tests.support.processes.reach import Reach


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
    assert len(names) == 6
    assert not re.search(r'(href|src)="(?!/)', page)
    for name in names:
        answer = await reach.http.get(name, headers={"Accept": "text/html"})
        assert answer.status_code == 200
        if name.startswith("/static/"):
            assert "immutable" in answer.headers["cache-control"]
            kind = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
            assert answer.headers["content-type"].startswith(kind[name.rpartition(".")[2]])
    assert (await reach.http.head("/docs")).status_code == 200
