"""A backup is the database at one moment, whatever is written meanwhile; and can be restored."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from reach.db.backup import CannotBackUp, back_up
from reach.settings import Settings
from tests.eventually import eventually
from tests.moving.copied import Place
from tests.moving.filled import counts, different, fill
from tests.promises.running import client, door, ended, worker
from tests.servers.mail import MailServer
from tests.servers.ports import free_port
from tests.servers.processes import ReachProcess

SHARED_LEASE_SECONDS = 2.0
#: Enough pages for several steps.
PEOPLE = 12_000


def backed_up(source: Place, file: Path, *, replaces: bool = False) -> list[int]:
    """Back up in this process; how many pages were left at each step."""
    steps: list[int] = []
    back_up(source.file, file, lambda _, left: steps.append(left), replaces=replaces)
    return steps


def test_others_write_at_each_step(empty_file: Callable[[str], Place], tmp_path: Path) -> None:
    """They wait for nobody; the backup does not begin anew, and holds nothing of what they write.

    It is one file, for its owner alone.
    """
    source, file = empty_file("busy"), tmp_path / "backup.sqlite3"
    fill(source.file, PEOPLE)
    before = tmp_path / "before.sqlite3"
    shutil.copy(source.file, before)
    steps: list[int] = []
    with closing(sqlite3.connect(source.file, timeout=0, isolation_level=None)) as other:
        before_it = other.execute("PRAGMA data_version").fetchone()

        def write(_: int, left: int) -> None:
            steps.append(left)
            other.execute("UPDATE people SET name = 'Written' WHERE rowid % 97 = 0")
            other.execute("DELETE FROM attempts WHERE rowid % 89 = ?", (len(steps),))

        back_up(source.file, file, write)
        assert before_it == other.execute("PRAGMA data_version").fetchone()
    assert len(steps) >= 3
    assert steps == sorted(set(steps), reverse=True)
    assert different(before, file) is None
    assert different(source.file, file) is not None
    assert file.stat().st_mode & 0o777 == 0o600
    assert {found.name for found in tmp_path.iterdir() if "backup" in found.name} == {file.name}


@asynccontextmanager
async def signing_up(http: httpx.AsyncClient, acknowledged: list[str]) -> AsyncIterator[None]:
    """Have people sign up all the time; each who is told so is in ``acknowledged``."""

    async def sign_up_for_ever(name: str) -> None:
        for n in range(10**9):
            email = f"{name}{n}@example.com"
            answer = await http.post("/v1/signups", json={"email": email, "name": "Ada"})
            assert answer.status_code == httpx.codes.ACCEPTED
            acknowledged.append(email)

    callers = [asyncio.create_task(sign_up_for_ever(name)) for name in "ab"]
    try:
        yield
    finally:
        for caller in callers:
            caller.cancel()
        ends = await asyncio.gather(*callers, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends


async def test_taken_under_load_it_restores_to_a_consistent_state(
    make_settings: Callable[..., Settings],
    mail_server: MailServer,
    empty_file: Callable[[str], Place],
    tmp_path: Path,
) -> None:
    """API and worker at work: all that was acknowledged before is in it, and all of it fits.

    What was queued then is sent after restoring it; and again, if it was sent in between.
    """
    place, backup = empty_file("busy"), tmp_path / "backup.sqlite3"
    settings = make_settings(
        database_url=place.url,
        smtp_url=SecretStr(mail_server.url),
        port=free_port(),
        lease_seconds=SHARED_LEASE_SECONDS,
    )
    acknowledged: list[str] = []
    async with (
        door(settings),
        worker(settings),
        client(settings) as http,
        signing_up(http, acknowledged),
    ):
        await eventually(lambda: len(mail_server.messages) > 30, 30)
        mail_server.stall()
        await eventually(mail_server.is_stalled)
        known = len(acknowledged)
        await eventually(lambda: len(acknowledged) > known + 30, 30)
        before = set(acknowledged)
        with ReachProcess("db", "backup", str(backup), settings=settings) as process:
            assert await ended(process, 60) == 0, process.errors
            assert "REACH_SECRET_KEY" in process.output
        assert len(acknowledged) > len(before)
        mail_server.resume()
        sent = len(mail_server.messages)
        await eventually(lambda: len(mail_server.messages) > sent + 30, 30)
    restored = Place(f"sqlite:///{tmp_path / 'restored.sqlite3'}")
    shutil.copy(backup, restored.file)
    people = is_consistent(restored)
    assert people >= before
    assert not people >= set(acknowledged)
    queued = restored.run("SELECT message_id FROM messages WHERE state = 'queued'")
    assert len(queued) > 30
    moved = settings.model_copy(update={"database_url": SecretStr(restored.url)})
    unsent = "SELECT count(*) FROM messages WHERE state <> 'sent'"
    async with door(moved), worker(moved):
        await eventually(lambda: restored.run(unsent) == [(0,)], 60, every=0.1)
    copies = Counter(mail.message_id for mail in mail_server.messages)
    assert all(copies[message_id] >= 1 for (message_id,) in queued)
    assert any(copies[message_id] > 1 for (message_id,) in queued)


def is_consistent(place: Place) -> set[str]:
    """Check all that must fit together; everybody's address."""
    assert place.run("PRAGMA integrity_check") == [("ok",)]
    assert place.run("PRAGMA foreign_key_check") == []
    assert place.run(
        "SELECT count(*) FROM people WHERE id NOT IN (SELECT person_id FROM messages)"
    ) == [(0,)]
    tallied = dict(place.run("SELECT name, count FROM tallies WHERE hour = 0"))
    assert tallied["people"] == counts(place.file)["people"]
    assert place.run("SELECT state, count(*) FROM messages GROUP BY 1 ORDER BY 1") == sorted(
        (state, tallied[state]) for state in ("queued", "sent") if tallied[state]
    )
    return {email for (email,) in place.run("SELECT email FROM people")}


def test_a_file_that_is_there_is_not_replaced(source: Place, tmp_path: Path) -> None:
    """Unless told so; and the database itself never is, by whatever name."""
    file, link = tmp_path / "kept", tmp_path / "link"
    file.write_text("kept")
    with pytest.raises(CannotBackUp, match="There is such a file"):
        backed_up(source, file)
    assert file.read_text() == "kept"
    backed_up(source, file, replaces=True)
    assert different(source.file, file) is None
    os.link(source.file, link)
    for name in (source.file, link):
        with pytest.raises(CannotBackUp, match="the database itself"):
            backed_up(source, name, replaces=True)


def test_nothing_of_reachs_own_is_replaced(source: Place, tmp_path: Path) -> None:
    """Not even with --force: the write-ahead log holds the last sign-ups, the turn orders writers.

    By whatever name, and whether there is such a file now or not.
    """
    link = tmp_path / "link.sqlite3"
    link.symlink_to(source.file)
    beside = [f"{source.file.name}-{kind}" for kind in ("wal", "shm", "journal", "turn")]
    others = ["secret-key", "operator-key", "up-lock", "link.sqlite3-turn"]
    (tmp_path / "secret-key").write_text("kept")
    (tmp_path / "alias").symlink_to(tmp_path / "secret-key")
    with closing(sqlite3.connect(source.file)) as open_:
        open_.execute("PRAGMA journal_mode=WAL")
        open_.execute("SELECT count(*) FROM people").fetchall()
        before = {path.name for path in tmp_path.iterdir()}
        assert f"{source.file.name}-wal" in before
        for name in (*beside, *others, "alias"):
            with pytest.raises(CannotBackUp, match="a file of Reach's own"):
                backed_up(Place(f"sqlite:///{link}"), tmp_path / name, replaces=True)
        assert {path.name for path in tmp_path.iterdir()} == before
    assert (tmp_path / "secret-key").read_text() == "kept"


def test_what_is_wrong_leaves_no_file(source: Place, tmp_path: Path) -> None:
    """Neither under its name nor beside it: what cannot be trusted does not look like a backup."""
    folder = tmp_path / "backups"
    with pytest.raises(CannotBackUp, match="does not exist"):
        backed_up(source, folder / "file")
    folder.mkdir()
    with pytest.raises(CannotBackUp, match="That is a folder"):
        backed_up(source, folder)
    with closing(sqlite3.connect(source.file)) as careless:  # without foreign_keys=ON
        careless.execute("DELETE FROM people WHERE name = 'Zoë 7'")
        careless.commit()
    with pytest.raises(CannotBackUp, match="refer to nothing"):
        backed_up(source, folder / "file")
    with source.file.open("r+b") as file:
        file.seek(200 * 1024)
        file.write(bytes(range(256)) * 64)
    with pytest.raises(CannotBackUp, match="damaged"):
        backed_up(source, folder / "file")
    other = Place(f"sqlite:///{tmp_path / 'other'}")
    other.run("CREATE TABLE theirs (x)")
    with pytest.raises(CannotBackUp, match="no database of Reach"):
        backed_up(other, folder / "file")
    assert list(folder.iterdir()) == []


#: A backup that stops in its midst, until it is killed.
HELD = """import sys; from pathlib import Path; from reach.db.backup import back_up
back_up(Path(sys.argv[1]), Path(sys.argv[2]), lambda *_: (print(flush=True), sys.stdin.read()))"""


def test_what_a_killed_one_leaves_is_removed_by_the_next(source: Place, tmp_path: Path) -> None:
    """Under another name, as cron's is each day; but not what somebody is at now."""
    folder = tmp_path / "backups"
    folder.mkdir()
    left = folder / ".monday.reach-unfinished"
    held = (sys.executable, "-c", HELD, str(source.file), str(folder / "monday"))
    with subprocess.Popen(held, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        backed_up(source, folder / "tuesday")
        with pytest.raises(CannotBackUp, match="into that file is under way"):
            backed_up(source, folder / "monday")
        assert (left / "new").stat().st_size > 0
        assert (left / "new").stat().st_mode & 0o777 == 0o600
        assert left.stat().st_mode & 0o777 == 0o700
        process.kill()
    assert {path.name for path in folder.iterdir()} == {left.name, "tuesday"}
    backed_up(source, folder / "wednesday")
    assert {path.name for path in folder.iterdir()} == {"tuesday", "wednesday"}


def test_what_only_looks_like_left_is_kept(
    source: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a link leads, what is not a backup's, what is another user's; a line names it."""
    folder, elsewhere = tmp_path / "backups", tmp_path / "elsewhere"
    link, theirs = (folder / f".{name}.reach-unfinished" for name in ("link", "theirs"))
    for place in (folder, elsewhere, theirs, theirs / "folder"):
        place.mkdir()
    link.symlink_to(elsewhere)
    kept = [place / name for place in (elsewhere, theirs) for name in ("precious", "lock")]
    kept += [elsewhere / "new", theirs / "new-wal.bak"]
    for file in kept:
        file.write_text("kept")
    kept.remove(theirs / "lock")  # a backup's own
    backed_up(source, folder / "any")
    for name, place in (("link", link), ("theirs", theirs)):
        with pytest.raises(CannotBackUp, match=f"^{place} is in the way.*remove it"):
            backed_up(source, folder / name)
    assert [file.read_text() for file in kept] == ["kept"] * len(kept)
    others = folder / ".others.reach-unfinished"
    others.mkdir()
    (others / "new").touch()
    with monkeypatch.context() as patched:
        patched.setattr(os, "geteuid", lambda: os.getuid() + 1)
        backed_up(source, folder / "more")
        assert (others / "new").exists()
    backed_up(source, folder / "most")
    assert not others.exists()


def test_the_command_says_what_else_to_keep(source: Place, tmp_path: Path) -> None:
    """The secret key, by where it is, which it never replaces. A failure is 1.

    Of Postgres it says whose tools to use: 2.
    """
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "secret-key").write_text("canary" * 9)
    data_dir = {"REACH_DATA_DIR": str(keys)}
    file = tmp_path / "backup"
    environment = {**data_dir, "REACH_DATABASE_URL": source.url}
    for code in (0, 1):
        with ReachProcess("db", "backup", str(file), environment=environment) as process:
            assert process.wait() == code
            assert (f"in {keys / 'secret-key'}" in process.output) == (code == 0)
            assert "canary" not in process.output + process.errors
            assert ("There is such a file" in process.errors) == (code == 1)
    for name in ("secret-key", "operator-key"):
        own = ("db", "backup", "--force", str(keys / name))
        with ReachProcess(*own, environment=environment) as process:
            assert process.wait() == 1
            assert "That is a file of Reach's own." in process.errors
    assert [(path.name, path.read_text()) for path in keys.iterdir()] == [
        ("secret-key", "canary" * 9)
    ]
    url = "postgresql://u:canary@127.0.0.1:1/reach"
    environment = {**data_dir, "REACH_DATABASE_URL": url}
    with ReachProcess("db", "backup", str(file), environment=environment) as process:
        assert process.wait() == 2
        assert "pg_dump" in process.errors
        assert "canary" not in process.errors
