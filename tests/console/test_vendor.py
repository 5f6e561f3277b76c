"""What others wrote for browsers: as its makers published it, with its licence beside it."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from reach.web.templates import CONSOLE, console_files
from tests.support.root import ROOT

VENDOR = CONSOLE / "vendor"
MANIFEST: dict[str, Any] = json.loads(
    (ROOT / "requirements" / "vendor.json").read_text(encoding="utf-8")
)


def integrity(path: Path) -> str:
    """The hash of a file, as the manifest writes it."""
    return f"sha512-{base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()}"


def test_each_file_is_the_one_that_is_pinned() -> None:
    """No file is missing, none is more, and none was changed by a letter."""
    pinned = {
        file["as"]: file["integrity"]
        for package in MANIFEST.values()
        for file in package["files"].values()
    }
    assert {path.name: integrity(path) for path in VENDOR.iterdir()} == pinned


def test_each_package_has_its_licence_beside_it() -> None:
    """Who passes Reach on passes it on too; it is no file that pages load."""
    for name, package in MANIFEST.items():
        licences = [file["as"] for file in package["files"].values() if "LICENSE" in file["as"]]
        assert licences, name
        assert not set(licences) & set(console_files())
