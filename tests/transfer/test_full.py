"""A disk that gets full ends a copy or a backup with a line; what is there is sound."""

import sys
from collections.abc import Callable
from pathlib import Path

from tests.support.database.copies import Place, copied, counts, different, fill, is_untouched
from tests.support.database.databases import migrate
from tests.support.processes.commands import ReachProcess

#: A file's largest size gives EFBIG where a disk gives ENOSPC.
SMALL = (
    "import os, resource, sys; size = int(sys.argv[1]);"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (size, size));"
    "os.execv(sys.argv[2], sys.argv[2:])"
)


def test_a_copy_that_has_no_room_leaves_nothing(
    empty_file: Callable[[str], Place], tmp_path: Path
) -> None:
    """Exit code 1, and how the target's disk is; no traceback. With room it is run again."""
    source, target = empty_file("source"), Place(f"sqlite:///{tmp_path / 'target.sqlite3'}")
    fill(source.file, 3000)
    migrate(target.url)
    wrapper = (sys.executable, "-c", SMALL, str(target.file.stat().st_size + 400_000))
    copy = ("db", "copy", "--from", source.url)
    environment = {"REACH_DATABASE_URL": target.url}
    with ReachProcess(*copy, environment=environment, wrapper=wrapper) as process:
        assert process.wait(60) == 1
        assert process.errors.splitlines()[-1].startswith("The target is unavailable. Its disk")
        assert "crashed" not in process.errors
    assert is_untouched(target)
    assert copied(source, target) == counts(source.file)
    assert different(source.file, target.file) is None


def test_a_backup_that_has_no_room_leaves_nothing(source: Place, tmp_path: Path) -> None:
    """Exit code 1, and a line."""
    folder = tmp_path / "backups"
    folder.mkdir()
    wrapper = (sys.executable, "-c", SMALL, "100000")
    backup = ("db", "backup", str(folder / "backup"))
    environment = {"REACH_DATABASE_URL": source.url}
    with ReachProcess(*backup, environment=environment, wrapper=wrapper) as process:
        assert process.wait(60) == 1
        assert process.errors.splitlines()[-1].startswith("The backup cannot be written. Its disk")
    assert list(folder.iterdir()) == []
