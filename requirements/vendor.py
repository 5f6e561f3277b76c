"""Brings what others wrote for browsers into `src/reach/console/static/vendor`: `make vendor`.

`vendor.json` names packages of npm's registry, each by its version and its hash, and the files
that are taken of it, each by its own hash. npm's ordinary client fetches; what is not as it says
there is not taken. The files are committed: nothing fetches them to build or run.
"""

import base64
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MANIFEST = HERE / "vendor.json"
TARGET = HERE.parent / "src" / "reach" / "console" / "static" / "vendor"


class NotAsPinned(Exception):
    """Something is not what the manifest says; ``args[0]`` says what."""


def digest(content: bytes) -> str:
    """Write a hash as npm's ``integrity`` does."""
    return f"sha512-{base64.b64encode(hashlib.sha512(content).digest()).decode()}"


def fetch(name: str, pinned: Mapping[str, Any], folder: Path) -> Path:
    """Have npm pack one version into a folder. Raises NotAsPinned."""
    command = ["npm", "pack", f"{name}@{pinned['version']}", "--silent", "--ignore-scripts"]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    archive = folder / done.stdout.strip().splitlines()[-1]
    found = digest(archive.read_bytes())
    if found != pinned["integrity"]:
        raise NotAsPinned(f"{name} {pinned['version']} has the hash {found}")
    return archive


def unpack(archive: Path, files: Mapping[str, Mapping[str, str]]) -> dict[str, bytes]:
    """Take the files that are named, and nothing else. Raises NotAsPinned."""
    taken: dict[str, bytes] = {}
    with tarfile.open(archive) as packed:
        for path, wanted in files.items():
            member = packed.extractfile(path)
            content = member.read() if member else b""
            if digest(content) != wanted["integrity"]:
                raise NotAsPinned(f"{path} has the hash {digest(content)}")
            taken[wanted["as"]] = content
    return taken


def main() -> None:
    """Fetch, check, and only then write."""
    taken: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, pinned in json.loads(MANIFEST.read_text(encoding="utf-8")).items():
            taken |= unpack(fetch(name, pinned, Path(folder)), pinned["files"])
    TARGET.mkdir(parents=True, exist_ok=True)
    for file, content in taken.items():
        (TARGET / file).write_bytes(content)
        sys.stdout.write(f"{file}: {len(content)} bytes\n")


if __name__ == "__main__":
    try:
        main()
    except NotAsPinned as reason:
        sys.exit(str(reason))
