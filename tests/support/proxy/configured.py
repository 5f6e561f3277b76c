"""The files of deploy/traefik, copied, and changed in what a test names: nothing else.

A change is an old text and its new one. The old text must be found, exactly as often as the
change says: a test cannot go on changing what the files no longer say.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.support.root import ROOT

SHIPPED = ROOT / "deploy" / "traefik"
STATIC, DYNAMIC = Path("traefik.yaml"), Path("dynamic/reach.yaml")
#: The name that the files are for; it resolves nowhere, so tests send it as the Host.
NAME = "signup.example.com"


@dataclass(frozen=True)
class Change:
    """``old`` in ``file`` becomes ``new``, in ``times`` places."""

    file: Path
    old: str
    new: str
    times: int = 1


def changed(text: str, change: Change) -> str:
    """Make one change. Raises AssertionError unless the text says ``old`` so many times."""
    found = text.count(change.old)
    assert found == change.times, f"{change.file} has {change.old!r} {found} times"
    return text.replace(change.old, change.new)


def places(port: int, inside: int, servers: tuple[int, int], folder: Path) -> list[Change]:
    """Put everything on ports of the test's own, and let Traefik's API tell what it understood."""
    return [
        Change(STATIC, 'address: ":80" # ADAPT', f'address: "127.0.0.1:{port}"'),
        Change(STATIC, "127.0.0.1:8082", f"127.0.0.1:{inside}"),
        Change(STATIC, "directory: dynamic", f"directory: {folder / 'dynamic'}"),
        Change(STATIC, "ping: {}", "ping: {}\napi: {insecure: true, dashboard: false}"),
        Change(DYNAMIC, "http://127.0.0.1:8001", f"http://127.0.0.1:{servers[0]}"),
        Change(DYNAMIC, "http://127.0.0.1:8002", f"http://127.0.0.1:{servers[1]}"),
    ]


def sign_up_limit(burst: int) -> list[Change]:
    """Let the proxy admit ``burst`` sign-ups, and no more while a test runs."""
    return [
        Change(DYNAMIC, "average: 60 # ADAPT", "average: 1"),
        Change(DYNAMIC, "period: 1m", "period: 1h"),
        Change(DYNAMIC, "burst: 20 # ADAPT", f"burst: {burst}"),
    ]


def behind_proxy() -> list[Change]:
    """Put the edge behind one more proxy, which is on this machine: the clients are its own."""
    return [
        Change(STATIC, "    forwardedHeaders:\n      trustedIPs: []", TRUSTING),
        Change(DYNAMIC, "depth: 0", "depth: 1"),
    ]


TRUSTING = "    forwardedHeaders:\n      trustedIPs: [127.0.0.1/32]"


def write(folder: Path, changes: Iterable[Change]) -> Path:
    """Write the changed files into ``folder``, and give the static one."""
    texts = {file: (SHIPPED / file).read_text(encoding="utf-8") for file in (STATIC, DYNAMIC)}
    for change in changes:
        texts[change.file] = changed(texts[change.file], change)
    for file, text in texts.items():
        (folder / file).parent.mkdir(exist_ok=True, parents=True)
        (folder / file).write_text(text, encoding="utf-8")
    return folder / STATIC


def routers(text: str) -> dict[str, str]:
    """Cut the dynamic file's routers out, each as it is written, by name."""
    section = text.split("\n  routers:\n", 1)[1].split("\n  middlewares:\n", 1)[0]
    parts = re.split(r"^    ([\w-]+):\n", section, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))
