"""What a maker copies into a page of their own, at the console."""

from collections.abc import Callable

from reach.settings import Settings
from tests.support.console import Console, at_console
from tests.support.processes.reach import running_reach


async def test_a_maker_is_shown_what_to_copy(
    sqlite: str, make_settings: Callable[..., Settings]
) -> None:
    """With the address of this server, and that of their own page."""
    settings = make_settings(
        database_url=sqlite,
        return_urls="https://www.example.org/thanks?a=1&b=2",
        embed_origins="https://www.example.org",
    )
    async with running_reach(settings) as reach, at_console(reach, "keys:write") as console:
        text = (await console.get("/console/site")).text
    for written in (
        f"action=&#34;{console.origin}/&#34;",
        "value=&#34;https://www.example.org/thanks?a=1&amp;amp;b=2&#34;",
        f"src=&#34;{console.origin}/embed.js&#34;",
        f"src=&#34;{console.origin}/embed&#34;",
        "pages of https://www.example.org",
    ):
        assert written in text


async def test_it_says_what_a_frame_lacks(console: Console) -> None:
    """By default browsers show the frame on nobody's page."""
    assert "browsers show this frame on no page" in (await console.get("/console/site")).text
