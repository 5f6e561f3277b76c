"""A new file has its name once it is whole, with hard links or without."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from reach.files import NO_LINKS, SUFFIX, give_name, new_file, write
from reach.runtime.data_dir import secret_key
from reach.settings import Settings
from reach.transfer import Watcher
from reach.transfer.backup import CannotBackUp, back_up


@pytest.fixture(params=["links", *sorted(set(NO_LINKS))])
def folder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder with hard links; and one where the system refuses them, as it does on FAT."""
    if request.param != "links":

        def refuse(*_: object) -> None:
            raise OSError(request.param, os.strerror(request.param))

        monkeypatch.setattr(os, "link", refuse)
    return tmp_path


def test_a_name_is_given_once(folder: Path) -> None:
    """Who comes second is told, and replaces nothing."""
    for text in ("one", "two"):
        (folder / text).write_text(text)
    give_name(folder / "one", folder / "file")
    with pytest.raises(FileExistsError):
        give_name(folder / "two", folder / "file")
    assert (folder / "file").read_text() == "one"


def test_keys_and_backups_need_no_links(
    folder: Path, migrated_file: Path, make_settings: Callable[..., Settings]
) -> None:
    """Both are whole, for their owner alone, and nothing lies beside them."""
    backup, keys = folder / "backup", folder / "keys"
    keys.mkdir()
    settings = make_settings(data_dir=keys, secret_key="")
    assert secret_key(settings) == secret_key(settings)
    back_up(migrated_file, backup, Watcher())
    with pytest.raises(CannotBackUp, match="There is such a file"):
        back_up(migrated_file, backup, Watcher())
    assert backup.stat().st_size > 0
    assert {path.stat().st_mode & 0o777 for path in (backup, keys / "secret-key")} == {0o600}
    assert sorted(path.name for path in folder.iterdir()) == ["backup", "keys"]
    assert [path.name for path in keys.iterdir()] == ["secret-key"]


def test_another_failure_is_no_lack_of_links(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is the caller's to say."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "new").touch()
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        give_name(tmp_path / "new", tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_a_file_is_whole_or_not_there(folder: Path) -> None:
    """A failure in the middle leaves neither the name nor what was written; a second is refused."""
    file = folder / "file"
    with pytest.raises(UnicodeEncodeError):
        write(file, "half, and then\ud800")
    assert list(folder.iterdir()) == []
    write(file, "whole")
    with pytest.raises(FileExistsError):
        write(file, "another")
    assert file.read_text() == "whole"
    with new_file(file, replaces=True) as new:
        assert new.stat().st_mode & 0o777 == 0o600
        new.write_text("newer")
        assert file.read_text() == "whole"
    assert file.read_text() == "newer"
    assert [path.name for path in folder.iterdir()] == ["file"]


def test_what_was_left_behind_is_removed_once_nobody_is_at_work(tmp_path: Path) -> None:
    """As a killed process leaves it; no folder of that name, nor anything where a link leads."""
    left, link, place = (tmp_path / f".{name}{SUFFIX}" for name in ("left", "link", "folder"))
    kept = tmp_path / "kept"
    kept.write_text("kept")
    link.symlink_to(kept)
    place.mkdir()
    (place / "theirs").touch()
    with new_file(tmp_path / "slow") as slow:
        left.write_text("half")
        write(tmp_path / "quick", "")
        assert left.exists()
        assert slow.exists()
    write(tmp_path / "later", "")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"kept", "slow", "quick", "later", place.name}
    assert (place / "theirs").exists()
    assert kept.read_text() == "kept"
