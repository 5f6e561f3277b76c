"""The servers that are compared: Reach of this or another version, PocketBase, a bare one."""

import asyncio
import os
import re
import secrets
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from benchmarks.client import Refused, Work
from benchmarks.processes import Running
from tests.support.http.clients import NO_CERTIFICATES
from tests.support.processes.ports import free_port
from tests.support.root import ROOT

CORES = os.cpu_count() or 1
#: So many records are read in turns, and so many are on a page.
RECORDS = 100
BARE, FASTAPI = "bare ASGI", "bare FastAPI"
#: What they are called in `benchmarks/bare.py`.
APPLICATIONS = {BARE: "asgi", FASTAPI: "fastapi"}
PREFIX = "REACH_"
SQLITE_NAME = "reach.sqlite3"
#: One for the whole run: databases are copied, with the keys in them.
SECRET = secrets.token_hex(32)
WRITES = re.compile(
    r'^reach_database_transaction_duration_seconds_count\{kind="write",[^}]*\} (\S+)$', re.MULTILINE
)


@dataclass(frozen=True)
class Version:
    """A version of Reach: a name, its source, and the Python that it is installed for."""

    name: str
    root: Path

    @property
    def command(self) -> list[str]:
        """What runs `reach`."""
        own = self.root / ".venv/bin/python"
        return [sys.executable if self.root == ROOT else str(own), "-m", "reach"]


NOW = Version("Reach", ROOT)


@dataclass
class Server:
    """One that takes part: what it is asked, and what it must have stored for it."""

    name: str
    base: str
    works: dict[str, Work]
    busy_seconds: Callable[[], float]
    #: How many rows each table has. None stores nothing.
    stored: Callable[[], dict[str, int]] | None = None
    answered: int = 0
    unanswered: int = 0

    def check(self) -> None:
        """Every answer is a row of each table; more are only what nobody waited for.

        Raises Refused.
        """
        if self.stored is None:
            return
        for table, rows in self.stored().items():
            if not self.answered <= rows <= self.answered + self.unanswered:
                raise Refused(
                    f"{self.name}: {self.answered} were answered (and {self.unanswered} at most"
                    f" were not waited for), and {table} has {rows} rows"
                )


@dataclass
class Reach:
    """An installation of Reach: a folder, a database, and settings by name."""

    version: Version
    folder: Path
    database_url: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    token: str = ""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        given = {
            "data_dir": str(self.folder),
            "database_url": self.database_url or f"sqlite:///{self.folder}/{SQLITE_NAME}",
            "secret_key": SECRET,
            "limit_signups": "off",
            "limit_api": "off",
            "limit_failed_keys": "off",
            "smtp_url": "smtp://127.0.0.1:1",
            "port": str(self.port),
            **self.settings,
        }
        self.database_url = given["database_url"]
        self.environment = {
            **clean_environment(self.version),
            **{f"{PREFIX}{name.upper()}": value for name, value in given.items()},
        }
        self.base = f"http://127.0.0.1:{self.port}"

    @classmethod
    def new(cls, version: Version, folder: Path) -> tuple[Running, str]:
        """All of it in one process, as `reach up` runs it in a folder that is not there yet."""
        port = free_port()
        environment = {**clean_environment(version), "REACH_DATA_DIR": str(folder / "new")}
        command = [*version.command, "up", "--port", str(port)]
        return Running(command, environment, folder / "log"), f"http://127.0.0.1:{port}"

    def do(self, *words: str) -> str:
        """Run a command, and return what it printed."""
        command = [*self.version.command, *words]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout} {done.stderr}"
        return done.stdout

    def make_key(self) -> None:
        """Make an operator's key that reads people."""
        words = self.do("keys", "create", "benchmark", "--scope", "people:read")
        key = re.search(r"rk_\S+", words)
        assert key, words
        self.token = f"Bearer {key[0]}"

    def api(self, processes: int = CORES, **settings: str) -> Running:
        """The API, its metrics on, its log in a file."""
        metrics = {"metrics_port": str(free_port()), **settings}
        return self._running("api", "--processes", str(processes), **metrics)

    def worker(self, **settings: str) -> Running:
        """A worker, its metrics on."""
        self.worker_metrics = free_port()
        return self._running("worker", metrics_port=str(self.worker_metrics), **settings)

    def inbound(self) -> Running:
        """What takes reports in."""
        return self._running("inbound")

    def writes(self) -> float:
        """How many transactions its worker has written so far."""
        url = f"http://127.0.0.1:{self.worker_metrics}/metrics"
        answer = httpx.get(url, verify=NO_CERTIFICATES, trust_env=False, timeout=20)
        return sum(map(float, WRITES.findall(answer.raise_for_status().text)))

    def _running(self, *words: str, **settings: str) -> Running:
        changes = {f"{PREFIX}{name.upper()}": value for name, value in settings.items()}
        environment = {**self.environment, **changes}
        log = self.folder / f"{words[0]}-{secrets.token_hex(4)}.log"
        return Running([*self.version.command, *words], environment, log)

    def rows(self, query: str) -> int:
        """The number that a query gives, by no code of ours."""
        return int(rows_of(self.database_url, query))

    def stored(self) -> dict[str, int]:
        """How many people and messages there are."""
        return {
            table: self.rows(f"SELECT count(*) FROM {table}") for table in ("people", "messages")
        }

    def server(self, name: str, api: Running, *, status: int = 202) -> Server:
        """What takes part in a comparison. ``status`` is that of a sign-up's answer."""
        works = {
            "sign-up": Work("POST", self.base, "/v1/signups", status),
            "read": Work("GET", self.base, "/v1/people/", 200, self.token),
            "page": Work("GET", self.base, f"/v1/people?limit={RECORDS}", 200, self.token),
            "livez": Work("GET", self.base, "/livez", 200),
        }
        return Server(name, self.base, works, api.busy_seconds, self.stored)


def clean_environment(version: Version) -> dict[str, str]:
    """This process's environment without our settings, for the source of a version."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return {**kept, "PYTHONPATH": str(version.root / "src"), "PYTHONUNBUFFERED": "1"}


def bare(name: str, folder: Path, processes: int) -> tuple[Running, Server]:
    """A server that stores nothing, with as many processes: not yet started."""
    port, application = free_port(), APPLICATIONS[name]
    command = [sys.executable, "-m", "benchmarks.bare", str(port), application, str(processes)]
    running = Running(command, os.environ, folder / f"bare-{application}.log")
    base = f"http://127.0.0.1:{port}"
    works = {"sign-up": Work("POST", base, "/v1/signups", 202)}
    if name == BARE:
        works |= {kind: Work("GET", base, "/", 200) for kind in ("read", "page", "livez")}
    return running, Server(name, base, works, running.busy_seconds)


def pocketbase_program() -> str | None:
    """Where PocketBase is: beside this Python (its wheel), or on the PATH."""
    return shutil.which("pocketbase", path=str(Path(sys.executable).parent)) or shutil.which(
        "pocketbase"
    )


def pocketbase_version(program: str) -> str:
    """Which one it is."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.split()[-1]


class PocketBase:
    """PocketBase as it is delivered, with a collection of people; from here to ``with``."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self.folder = folder
        self.base = f"http://127.0.0.1:{free_port()}"
        self._secret = secrets.token_hex(12)
        self._do("superuser", "upsert", "a@example.com", self._secret)
        command = [program, "serve", "--http", self.base.removeprefix("http://")]
        self.running = Running(
            [*command, "--dir", str(folder / "data")], os.environ, folder / "pocketbase.log"
        )

    def server(self) -> Server:
        """Make the collection, once it runs, and say what takes part."""
        self.running.wait_for(f"{self.base}/api/health")
        login = {"identity": "a@example.com", "password": self._secret}
        path = "/api/collections/_superusers/auth-with-password"
        token = ask("POST", self.base + path, login)["token"]
        ask("POST", f"{self.base}/api/collections", PEOPLE, token)
        records = "/api/collections/people/records"
        works = {
            "sign-up": Work("POST", self.base, records, 200),
            "read": Work("GET", self.base, f"{records}/", 200, token),
            "page": Work("GET", self.base, f"{records}?perPage={RECORDS}&skipTotal=1", 200, token),
        }
        return Server("PocketBase", self.base, works, self.running.busy_seconds, self._stored)

    def _stored(self) -> dict[str, int]:
        url = f"sqlite:///{self.folder}/data/data.db"
        return {"people": int(rows_of(url, "SELECT count(*) FROM people"))}

    def _do(self, *words: str) -> None:
        self.folder.mkdir(parents=True)
        command = [self._program, *words, "--dir", str(self.folder / "data")]
        subprocess.run(command, capture_output=True, check=True)


#: The fields of a person. Anybody may create one; who reads must have logged in.
PEOPLE: dict[str, Any] = {
    "name": "people",
    "type": "base",
    "createRule": "",
    "viewRule": '@request.auth.id != ""',
    "listRule": '@request.auth.id != ""',
    "fields": [
        {"name": "email", "type": "email", "required": True},
        {"name": "name", "type": "text", "required": True, "max": 100},
        {"name": "description", "type": "text", "max": 500},
        {"name": "created", "type": "autodate", "onCreate": True},
    ],
    "indexes": ["CREATE UNIQUE INDEX idx_people_email ON people (email)"],
}


def some_ids(work: Work) -> list[str]:
    """Read a page, and name the records on it."""
    answer = ask(work.method, work.base + work.path, token=work.token)
    ids = [str(one["id"]) for one in answer["items"]]
    assert ids, f"nobody is on {work.path}"
    return ids


def ask(method: str, url: str, body: object = None, token: str = "") -> Any:
    """Ask once, in JSON. Raises httpx.HTTPError."""
    headers = {"Authorization": token} if token else {}
    answer = httpx.request(
        method,
        url,
        json=body,
        headers=headers,
        timeout=20,
        verify=NO_CERTIFICATES,
        trust_env=False,
    )
    return answer.raise_for_status().json()


def rows_of(url: str, query: str) -> Any:
    """The first value that a query gives, by no code of ours."""
    if url.startswith("sqlite"):
        path = url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)) as database:
            return database.execute(query).fetchone()[0]

    async def fetch() -> Any:
        connection = await asyncpg.connect(url, timeout=20)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(fetch())
