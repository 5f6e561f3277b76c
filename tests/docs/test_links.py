"""Every page, file and heading that the documentation names is there."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from tests.support.documentation import FENCE, PAGES, each_page
from tests.support.root import ROOT

FOLDERS = "benchmarks|clients|deploy|docs|findings|requirements|src|tests"
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
PATH = re.compile(rf"(?:{FOLDERS})/[\w./-]*[\w/]")
#: A package's file, named from below ``src/reach``.
MODULE = re.compile(r"[a-z_]+/[a-z_/]+\.py")
#: A page that a comment or a message of ours sends people to.
MENTION = re.compile(r"docs/[\w./-]+\.md")


def links(page: Path) -> Iterator[str]:
    """List where a page's links lead, but for other sites."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return (link for link in LINK.findall(text) if "://" not in link)


def paths(page: Path) -> Iterator[str]:
    """List the files and folders that a page names in code: exactly one, and nothing else."""
    for code in CODE.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if PATH.fullmatch(code):
            yield code
        elif MODULE.fullmatch(code):
            yield f"src/reach/{code}"


def anchors(page: Path) -> set[str]:
    """Name each heading of a page as a link does."""
    found = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@each_page
def test_every_link_leads_to_a_page_and_to_a_heading_of_it(page: Path) -> None:
    """A reader who clicks arrives."""
    for link in links(page):
        name, _, anchor = unquote(link).partition("#")
        target = (page.parent / name) if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@each_page
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    """A reader who looks for a file finds it."""
    assert [name for name in paths(page) if not (ROOT / name).exists()] == []


def test_every_page_that_the_source_names_is_there() -> None:
    """So nobody is sent to a page that was moved or merged."""
    lost = {
        f"{file.relative_to(ROOT)}: {name}"
        for folder in FOLDERS.split("|")
        for file in (ROOT / folder).rglob("*")
        if file.suffix in {".py", ".sh", ".yaml", ".tpl", ".md", ".json", ".service", ".js"}
        for name in MENTION.findall(file.read_text(encoding="utf-8"))
        if not (ROOT / name).exists()
    }
    assert lost == set()


def test_there_is_something_to_check() -> None:
    """A pattern that finds nothing would find no fault either."""
    assert sum(len(list(links(page))) for page in PAGES) > 150
    assert sum(len(list(paths(page))) for page in PAGES) > 200
