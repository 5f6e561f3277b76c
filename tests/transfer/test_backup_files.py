"""The files of a backup: which it writes, which it leaves alone, what a killed one leaves."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from reach.db.errors import NoDatabase
from reach.files import SUFFIX
from reach.transfer import Watcher
from reach.transfer.backup import CannotBackUp, back_up
from tests.support.database.copies import Place, different, fill


def backed_up(source: Place, file: Path, *, replaces: bool = False) -> None:
    """Back up in this process."""
    back_up(source.file, file, Watcher(), replaces=replaces)


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
    with pytest.raises(CannotBackUp, match="name too long"):
        backed_up(source, folder / ("x" * 256))
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
    with pytest.raises(NoDatabase, match="another program's"):
        backed_up(other, folder / "file")
    assert list(folder.iterdir()) == []


#: A backup that stops in its midst, until it is killed.
HELD = """
import sys
from pathlib import Path
from reach.transfer import Watcher
from reach.transfer.backup import back_up

class Held(Watcher):
    def advance(self, rows):
        print(flush=True)
        sys.stdin.read()

back_up(Path(sys.argv[1]), Path(sys.argv[2]), Held())
"""


def test_what_a_killed_one_leaves_is_removed_by_the_next(
    empty_file: Callable[[str], Place], tmp_path: Path
) -> None:
    """It has not the name that was asked for; and goes, whatever the next one is called."""
    source, folder = empty_file("source"), tmp_path / "backups"
    fill(source.file, 5000)
    folder.mkdir()
    held = (sys.executable, "-c", HELD, str(source.file), str(folder / "monday"))
    with subprocess.Popen(held, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        backed_up(source, folder / "tuesday")
        (left,) = folder.glob(f".monday.*{SUFFIX}")
        assert left.stat().st_mode & 0o777 == 0o600
        process.kill()
    assert {path.name for path in folder.iterdir()} > {left.name, "tuesday"}  # and its journal
    backed_up(source, folder / "wednesday")
    assert {path.name for path in folder.iterdir()} == {"tuesday", "wednesday"}


def test_ctrl_c_leaves_nothing(empty_file: Callable[[str], Place], tmp_path: Path) -> None:
    """It is heard while SQLite is at work, and is no failure of SQLite's."""
    source, folder = empty_file("source"), tmp_path / "backups"
    fill(source.file, 5000)
    folder.mkdir()
    with pytest.raises(KeyboardInterrupt):
        back_up(source.file, folder / "backup", Interrupting())
    assert list(folder.iterdir()) == []


class Interrupting(Watcher):
    """As if Ctrl-C came while SQLite says how far it is."""

    def advance(self, rows: int) -> None:
        """Interrupt."""
        super().advance(rows)
        raise KeyboardInterrupt
