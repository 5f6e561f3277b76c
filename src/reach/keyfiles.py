"""The data directory and the two keys that `reach up` keeps in it."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from pydantic import SecretStr

from reach.access import keys
from reach.db.engine import Database, Transaction
from reach.settings import SECRET_KEY_MIN_CHARACTERS, BadSettings, Settings


def make_data_dir(settings: Settings) -> None:
    """Make the data directory, for its owner alone. Raises BadSettings."""
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BadSettings(f"REACH_DATA_DIR: cannot be made ({error.strerror})") from None


def secret_key(settings: Settings) -> SecretStr:
    """The secret key that is set, or the one in the data directory, made at the first start."""
    if settings.secret_key.get_secret_value():
        return settings.secret_key
    text = _kept(settings.data_dir / "secret-key", lambda: secrets.token_hex(32))
    if len(text) < SECRET_KEY_MIN_CHARACTERS:
        raise BadSettings(f"{settings.data_dir / 'secret-key'} is too short: delete it")
    return SecretStr(text)


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
        keys.add(tx, text, "operator-key", keys.SCOPES)


def _kept(file: Path, make: Callable[[], str]) -> str:
    """Read a file's one line; write it first if there is no file. Raises BadSettings."""
    try:
        try:
            descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileExistsError:
            return file.read_text(encoding="ascii").strip()
        with open(descriptor, "w", encoding="ascii") as new:  # noqa: PTH123 - a descriptor
            text = make()
            new.write(f"{text}\n")
            new.flush()
            os.fsync(new.fileno())
            return text
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettings(f"{file} cannot be read or written: {error}") from None
