"""A new file has its name once it is whole, with hard links or without."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from reach.db.backup import CannotBackUp, back_up
from reach.newfiles import NO_LINKS, give_name
from reach.runtime.data_dir import secret_key
from reach.settings import Settings


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
    back_up(migrated_file, backup, lambda *_: None)
    with pytest.raises(CannotBackUp, match="There is such a file"):
        back_up(migrated_file, backup, lambda *_: None)
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
