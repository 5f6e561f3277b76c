"""The data directory and its keys: for their owner alone, whole, and never without a word."""

import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from reach.auth import keys
from reach.auth.audit import Actor
from reach.db.database import Database
from reach.runtime.data_dir import make_data_dir, operator_key, secret_key
from reach.runtime.process import opened
from reach.settings import BadSettings, Settings
from tests.support.processes.commands import ReachProcess
from tests.support.trail import trail

MakeSettings = Callable[..., Settings]


def mode(path: Path) -> int:
    """Who may do what with it."""
    return stat.S_IMODE(path.stat().st_mode)


def names(folder: Path) -> list[str]:
    """List what is in it."""
    return [path.name for path in folder.iterdir()]


def test_a_new_data_directory_is_its_owners(make_settings: MakeSettings, tmp_path: Path) -> None:
    """0700, without a word."""
    with capture_logs() as said:
        make_data_dir(make_settings(data_dir=tmp_path / "a" / "b"))
    assert mode(tmp_path / "a" / "b") == 0o700
    assert said == []


def test_an_open_data_directory_is_named_and_left(
    make_settings: MakeSettings, tmp_path: Path
) -> None:
    """We did not make it: the warning has its path and the remedy."""
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o750)
    with capture_logs() as said:
        make_data_dir(make_settings(data_dir=folder))
    assert mode(folder) == 0o750
    (warning,) = said
    assert (warning["log_level"], warning["path"]) == ("warning", str(folder))
    assert warning["remedy"] == f"chmod 700 {folder}"


def test_a_file_in_its_place_is_refused(make_settings: MakeSettings, tmp_path: Path) -> None:
    """By the variable's name."""
    (tmp_path / "file").touch()
    with pytest.raises(BadSettings, match=r"^REACH_DATA_DIR: cannot be made"):
        make_data_dir(make_settings(data_dir=tmp_path / "file"))


def test_a_key_is_made_once(make_settings: MakeSettings, tmp_path: Path) -> None:
    """0600, whatever the umask; nothing else is left beside it; the second start reads it."""
    settings = make_settings(secret_key="")
    before = os.umask(0)
    try:
        first = secret_key(settings).get_secret_value()
    finally:
        os.umask(before)
    assert names(tmp_path) == ["secret-key"]
    assert mode(tmp_path / "secret-key") == 0o600
    assert len(first) == 64
    assert secret_key(settings).get_secret_value() == first


def test_a_key_that_others_could_read_is_closed(
    make_settings: MakeSettings, tmp_path: Path
) -> None:
    """And the warning says which: who has read it knows it still."""
    file = tmp_path / "secret-key"
    file.write_text("k" * 32 + "\n")
    file.chmod(0o644)
    with capture_logs() as said:
        assert secret_key(make_settings(secret_key="")).get_secret_value() == "k" * 32
    assert mode(file) == 0o600
    (warning,) = said
    assert (warning["log_level"], warning["path"]) == ("warning", str(file))
    with capture_logs() as said:
        secret_key(make_settings(secret_key=""))
    assert said == []


def test_a_disk_that_is_full_leaves_no_empty_key(
    make_settings: MakeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first start fails in a line; the next one, with room, makes the key."""
    settings = make_settings(secret_key="")

    def no_room(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", no_room)
        with pytest.raises(BadSettings, match=r"secret-key cannot be read or written: .*No space"):
            secret_key(settings)
    assert names(tmp_path) == []
    assert len(secret_key(settings).get_secret_value()) == 64


def test_the_first_of_two_that_make_a_key_wins(
    make_settings: MakeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one reads what the first has written."""
    other = "o" * 64
    make = secrets.token_hex

    def interrupted(count: int) -> str:
        (tmp_path / "secret-key").write_text(other)
        return make(count)

    monkeypatch.setattr("secrets.token_hex", interrupted)
    assert secret_key(make_settings(secret_key="")).get_secret_value() == other
    assert names(tmp_path) == ["secret-key"]


@pytest.mark.parametrize("text", ["", "short", "\N{SNOWMAN}"])
async def test_a_file_without_a_key_is_named(
    make_settings: MakeSettings, tmp_path: Path, sqlite: str, text: str
) -> None:
    """Both are refused with the file's path, not taken for a key, and not overwritten."""
    settings = make_settings(database_url=sqlite, secret_key="")
    for name in ("secret-key", "operator-key"):
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(BadSettings, match="/secret-key "):
        secret_key(settings)
    async with opened(settings) as database:
        await refuse_operator_key(settings, database)
    assert (tmp_path / "operator-key").read_text(encoding="utf-8") == text


async def test_the_audit_trail_has_the_first_key(
    make_settings: MakeSettings, database: Database, tmp_path: Path
) -> None:
    """No key is there that nobody has made; and it is made once."""
    settings = make_settings(data_dir=tmp_path)
    for _ in range(2):
        await operator_key(settings, database)
    (entry,) = await trail(database)
    (key,) = await database.read(keys.all_keys)
    assert (entry.action, entry.subject) == ("key.create", key.id)
    assert entry.actor == Actor("command", str(os.getuid()), "cli")


async def refuse_operator_key(settings: Settings, database: Database) -> None:
    """Expect the operator key's file to be refused."""
    with pytest.raises(BadSettings, match="/operator-key "):
        await operator_key(settings, database)


def test_migrating_elsewhere_needs_no_data_directory(
    make_settings: MakeSettings, tmp_path: Path, postgres: str
) -> None:
    """A job that only migrates may have no place that it can write to."""
    nowhere = tmp_path / "file" / "data"
    (tmp_path / "file").touch()
    for url in (f"sqlite:///{tmp_path / 'elsewhere.sqlite3'}", postgres):
        settings = make_settings(data_dir=nowhere, database_url=url)
        with ReachProcess("migrate", settings=settings) as process:
            assert process.wait() == 0, process.errors


@pytest.mark.parametrize("is_named", [False, True])
def test_migrating_here_makes_the_data_directory(
    make_settings: MakeSettings, tmp_path: Path, is_named: bool
) -> None:
    """Whether the file in it is there by default or named by the URL."""
    folder = tmp_path / "new"
    url = f"sqlite:///{folder}/named.sqlite3" if is_named else ""
    with ReachProcess("migrate", settings=make_settings(data_dir=folder, database_url=url)) as it:
        assert it.wait() == 0, it.errors
    assert mode(folder) == 0o700
    assert {mode(file) for file in folder.iterdir()} == {0o600}
