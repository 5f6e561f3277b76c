"""An API that is killed as soon as its COMMIT is seen."""

import json
import os
import signal
import socket
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from types import MappingProxyType

from reach.settings import Settings
from tests.support.processes.commands import ReachProcess

KILLED = -9


PATIENT_SECONDS = 30


MOST_RACES = 20


def add_ballast(settings: Settings) -> None:
    """Fill the write-ahead log, so that the next COMMIT folds it in before it returns.

    That COMMIT is durable and seen by others while it does so: time enough for a kill.
    """
    with closing(sqlite3.connect(settings.database.url.database or "")) as connection:
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("CREATE TABLE IF NOT EXISTS ballast (bytes)")
        connection.execute("INSERT INTO ballast VALUES (zeroblob(30000000))")
        connection.commit()


def killed_unanswered(
    settings: Settings,
    api: ReachProcess,
    email: str,
    path: str = "/v1/signups",
    headers: Mapping[str, str] = MappingProxyType({}),
) -> bool:
    """Sign up and kill the API as soon as its COMMIT is seen; whether it had not answered yet.

    It blocks on purpose: nothing else may come between seeing and killing.
    """
    body = json.dumps({"email": email, "name": "Ada"}).encode()
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {settings.host}\r\nConnection: close\r\n{more}"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    file = settings.database.url.database or ""
    with closing(sqlite3.connect(file)) as watcher:
        version = watcher.execute("PRAGMA data_version").fetchone()
        with socket.create_connection((settings.host, settings.port), timeout=10) as caller:
            caller.sendall(head.encode() + body)
            deadline = time.monotonic() + PATIENT_SECONDS
            while watcher.execute("PRAGMA data_version").fetchone() == version:
                assert time.monotonic() < deadline, "the sign-up was never committed"
            os.kill(api.pid, signal.SIGKILL)
            try:
                answer = caller.recv(1)
            except ConnectionResetError:
                answer = b""
    assert api.wait() == KILLED
    return not answer
