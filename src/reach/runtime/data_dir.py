"""The data directory and the two keys that `reach up` keeps in it."""

import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog
from pydantic import SecretStr

from reach.auth import actions, keys
from reach.auth.audit import Actor
from reach.db.database import Database
from reach.db.transaction import Transaction
from reach.files import write
from reach.settings import BadSettings, Settings
from reach.settings.model import SECRET_KEY_MIN_CHARACTERS

log = structlog.get_logger("reach.runtime.data_dir")


def make_data_dir(settings: Settings) -> None:
    """Make the data directory, for its owner alone. Raises BadSettings.

    One that is there stays as it is: it may be shared on purpose.
    """
    folder = settings.data_dir
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_open_to_others = _is_open_to_others(folder.stat())
    except OSError as error:
        raise BadSettings(f"REACH_DATA_DIR: cannot be made ({error.strerror})") from None
    if is_open_to_others:
        remedy = f"chmod 700 {folder}"
        log.warning("data directory is open to others", path=str(folder), remedy=remedy)


def secret_key(settings: Settings) -> SecretStr:
    """The secret key that is set, or the one in the data directory, made at the first start."""
    if settings.secret_keys:
        return settings.secret_key
    text = _kept(settings.data_dir / "secret-key", lambda: secrets.token_hex(32))
    if len(text) < SECRET_KEY_MIN_CHARACTERS:
        raise BadSettings(f"{settings.data_dir / 'secret-key'} is too short: delete it")
    return SecretStr(text)


def with_secret_key(settings: Settings) -> Settings:
    """Give settings that have a secret key, made in the data directory if need be.

    So that `api` and `worker` on one machine sign with the same one. Raises BadSettings.
    """
    if settings.secret_keys:
        return settings
    make_data_dir(settings)
    return settings.model_copy(update={"secret_key": secret_key(settings)})


async def operator_key(settings: Settings, database: Database) -> str:
    """The operator key in the data directory, made at the first start, known to the database.

    One that was revoked stays revoked. Raises BadSettings if the file holds no key.
    """
    file = settings.data_dir / "operator-key"
    text = _kept(file, keys.generate)
    if not keys.is_well_formed(text):
        raise BadSettings(f"{file} does not hold a key: delete it, and the next start makes one")
    await database.write(_know, text)
    return text


def _know(tx: Transaction, text: str) -> None:
    if not keys.is_stored(tx, text):
        whose = Actor("command", str(os.getuid()), "cli")  # who has started it, and has the file
        actions.create_key(tx, whose, text, "operator-key", keys.SCOPES)


def _kept(file: Path, make: Callable[[], str]) -> str:
    """Read a file's one line; write it first if there is no file. Raises BadSettings."""
    try:
        if not file.exists():
            with suppress(FileExistsError):  # one that has come meanwhile stays
                write(file, f"{make()}\n")
        with file.open(encoding="ascii") as kept:
            _close_to_others(file, kept.fileno())
            return kept.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettings(f"{file} cannot be read or written: {error}") from None


def _close_to_others(file: Path, descriptor: int) -> None:
    """Let nobody else read a key. Who has read it already knows it: so a warning, too."""
    if not _is_open_to_others(os.fstat(descriptor)):
        return
    with suppress(OSError):  # it is another user's file
        os.fchmod(descriptor, 0o600)
    log.warning(
        "key file was open to others",
        path=str(file),
        remedy="It is 0600 from now on if it is ours. If somebody may have read it, replace it.",
    )


def _is_open_to_others(status: os.stat_result) -> bool:
    return bool(status.st_mode & (stat.S_IRWXG | stat.S_IRWXO))
