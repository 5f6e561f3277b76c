"""The files of a SQLite database, as their operator handles them."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx


def beside(file: Path) -> list[Path]:
    """Name the log and its index."""
    return [Path(f"{file}{kind}") for kind in ("-wal", "-shm")]


def is_whole(file: Path) -> bool:
    """Whether SQLite finds nothing wrong; without a connection that might change something."""
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
        return bool(connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)])


def moved(file: Path, to: Path) -> Path:
    """Give a file another name."""
    return file.rename(to)


def named(file: Path, to: Path) -> None:
    """Give a file a second name."""
    to.hardlink_to(file)


def remove(*files: Path) -> None:
    """Remove files."""
    for one in files:
        one.unlink()


async def signed_up(http: httpx.AsyncClient, name: str) -> int:
    """Sign somebody up; the status."""
    body = {"email": f"{name}@example.com", "name": "Ada"}
    return (await http.post("/v1/signups", json=body)).status_code


@contextmanager
def stuck(file: Path) -> Iterator[None]:
    """Have a writer of another process hang in its turn."""
    turn = os.open(f"{file}-turn", os.O_RDWR)
    fcntl.flock(turn, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(turn)
