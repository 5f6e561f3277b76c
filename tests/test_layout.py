"""Where tests and their helpers live: what is shared is in tests/support, and nowhere else."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.support.root import ROOT

TESTS = ROOT / "tests"
SUPPORT = TESTS / "support"
FILES = [*TESTS.rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
#: What pytest loads, and what is run by itself.
PROGRAMS = {TESTS / "skips.py", TESTS / "mutants.py"}
#: Folders that no package of Reach stands for.
OTHERS = {
    "benchmarks",
    "chart",
    "clients",
    "docs",
    "image",
    "platform",
    "promises",
    "proxy",
    "support",
}
#: JSON out of all that a process has written so far.
HALVES = re.compile(r"loads\b[^\n]*(\.output\b|everything\()")
#: Modules that run in processes of their own: these are told their names; and what only they use.
RUN = {
    "tests.support.corpus.__main__",
    "tests.support.http.hooks",
    "tests.support.processes.stuck",
    "tests.support.reports.__main__",
    "tests.support.reports.servers",
}


def imports(source: str) -> Iterator[str]:
    """List what of ours a file imports, by the whole name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{name.name}" for name in node.names)


def not_shared(source: str) -> list[str]:
    """What a file imports from modules that are pytest's to import."""
    return [
        name
        for name in imports(source)
        if name.startswith("tests.")
        and any(part.startswith("test_") or part == "conftest" for part in name.split("."))
    ]


def helpers(source: str) -> list[str]:
    """Name the functions and classes of a conftest that are no fixtures, and no hooks."""
    return [
        node.name
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("pytest_")
        and not any("pytest.fixture" in ast.unparse(one) for one in node.decorator_list)
    ]


def fault(file: Path) -> str:
    """What is wrong with a file's place, or with what it imports; empty if nothing is."""
    source = file.read_text(encoding="utf-8")
    if found := not_shared(source):
        return f"imports {found}"
    if file.name == "conftest.py":
        return f"has {found}" if (found := helpers(source)) else ""
    if not file.is_relative_to(TESTS) or file in PROGRAMS or file.name.startswith("test_"):
        return ""
    if file.name == "__init__.py":
        return "is not empty" if source else ""
    return "" if file.is_relative_to(SUPPORT) else "is a helper elsewhere"


def test_a_file_is_what_its_name_says() -> None:
    """A test, fixtures, or a helper among the helpers; and it imports none but helpers."""
    found = {str(file.relative_to(ROOT)): fault(file) for file in FILES}
    assert {name: words for name, words in found.items() if words} == {}


def test_folders_are_those_of_the_source() -> None:
    """What tests a package has its name."""
    packages = {path.name for path in (ROOT / "src/reach").iterdir() if path.is_dir()}
    folders = {path.name for path in TESTS.iterdir() if any(path.glob("test_*.py"))}
    assert folders - packages - OTHERS == set()
    assert folders >= OTHERS


def test_a_log_is_read_by_whole_lines() -> None:
    """What a process writes while it is read may end in half a line: ``log`` leaves that out."""
    others = [file for file in FILES if file.name != "test_layout.py"]
    assert [file for file in others if HALVES.search(file.read_text(encoding="utf-8"))] == []


def test_a_helper_helps_more_than_one_file() -> None:
    """What one file alone uses is in that file."""
    used: Counter[str] = Counter()
    for file in FILES:
        names = set(imports(file.read_text(encoding="utf-8")))
        used.update({*names, *(name.rpartition(".")[0] for name in names)})
    modules = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for file in SUPPORT.rglob("*.py")
        if not file.name.startswith(("test_", "__init__"))
    }
    alone = {name for name in modules - RUN if used[name] < 2}
    # Copies of one are what tests start; it imports what they would, and nothing imports it.
    assert alone == {"tests.support.processes.original"}


def test_faults_are_found() -> None:
    """A check that finds nothing would pass on anything."""
    source = "from tests.db.test_group import group\nfrom tests import conftest\nimport json"
    assert not_shared(source) == ["tests.db.test_group.group", "tests.conftest"]
    source = "@pytest.fixture(scope='module')\ndef site(): ...\ndef make(): ..."
    assert helpers(source) == ["make"]
    assert HALVES.search("[json.loads(line) for line in process.output.splitlines()]")
