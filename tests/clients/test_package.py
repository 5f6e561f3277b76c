"""Reach's Python client is a distribution of its own: typed, and with httpx alone."""

import subprocess
import sys
import zipfile
from email import message_from_string
from importlib.util import find_spec
from pathlib import Path

import pytest
import typing_extensions

from reach_client import __version__
from tests.support.root import ROOT

PROJECT = ROOT / "clients/python"
BUILD = "import sys, hatchling.build as b; print(b.build_wheel(sys.argv[1]))"
#: httpx, and what it needs itself.
HTTPX = ("httpx", "httpcore", "h11", "anyio", "certifi", "idna")
#: Makes a client of each kind, with nothing installed but what the arguments name.
MAKE = """
import sys
sys.path[:0] = sys.argv[1:]
import reach_client
assert reach_client.__file__.startswith(sys.argv[1]), reach_client.__file__
for kind in (reach_client.Client, reach_client.AsyncClient):
    assert kind("https://reach.example.com", "rk_some").people.list()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel, with the build back-end that is pinned."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-c", BUILD, str(folder)]
    built = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    return folder / built.stdout.splitlines()[-1]


def test_a_wheel_has_all_that_belongs_to_it(wheel: Path) -> None:
    """Its types, its licence, every module; and it asks for httpx, and nothing else."""
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        info = f"reach_client-{__version__}.dist-info"
        metadata = message_from_string(file.read(f"{info}/METADATA").decode())
        licence = file.read(f"{info}/licenses/LICENSE").decode()
    source = PROJECT / "src"
    modules = {str(path.relative_to(source)) for path in source.rglob("*.py")}
    assert {name for name in names if not name.startswith(info)} == modules | {
        "reach_client/py.typed"
    }
    assert metadata.get_all("Requires-Dist") == ["httpx<1,>=0.28"]
    assert (metadata["Name"], metadata["Version"]) == ("reach-client", __version__)
    assert licence == (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_httpx_is_all_that_it_needs(wheel: Path, tmp_path: Path) -> None:
    """Neither Reach itself, nor pydantic, has to be beside it."""
    (tmp_path / "typing_extensions.py").symlink_to(str(typing_extensions.__file__))
    for name in HTTPX:
        spec = find_spec(name)
        assert spec is not None
        for place in spec.submodule_search_locations or []:
            (tmp_path / name).symlink_to(place)
    command = [sys.executable, "-I", "-S", "-c", MAKE, str(wheel), str(tmp_path)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
