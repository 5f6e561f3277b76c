"""Postgres alone: roles that may not do what is needed, and where their passwords come from."""

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from reach.transfer.databases import CannotCopy
from tests.support.database.copies import Place, copied, counts
from tests.support.database.databases import migrate
from tests.support.processes.commands import ReachProcess
from tests.support.servers.postgres import Postgres

WORDS = "The role may not create tables there: make it the database's owner"


@pytest.fixture
def role(new_postgres: Callable[[], Place]) -> Iterator[tuple[Place, Place]]:
    """An empty database, as its owner sees it, and as a role that may only connect."""
    owner, name = new_postgres(), f"guest_{uuid4().hex[:8]}"
    owner.run(
        f"CREATE ROLE {name} LOGIN PASSWORD 'canary'", "REVOKE CREATE ON SCHEMA public FROM public"
    )
    parts = urlsplit(owner.url)
    guest = parts._replace(netloc=f"{name}@{parts.netloc.rpartition('@')[2]}")
    yield owner, Place(guest.geturl())
    owner.run(f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def test_it_may_not_create_tables(role: tuple[Place, Place], source: Place) -> None:
    """Exit code 1 and a line, of `reach migrate` and `reach db copy`; without a schema, too."""
    owner, guest = role
    environment = {"REACH_DATABASE_URL": guest.url}
    copy = ("db", "copy", "--from", source.url)
    for command in (("migrate",), copy):
        with ReachProcess(*command, environment=environment) as process:
            assert process.wait(60) == 1
            assert process.errors.splitlines()[-1].startswith(WORDS), process.errors
    owner.run("REVOKE USAGE ON SCHEMA public FROM public")
    with pytest.raises(CannotCopy, match=WORDS):
        copied(source, guest)


def test_it_may_not_write_to_the_tables_of_another(
    role: tuple[Place, Place], source: Place, target: Place
) -> None:
    """As a target they are refused; as a source it is enough that it may read them."""
    owner, guest = role
    migrate(owner.url)
    copied(source, owner)
    with pytest.raises(CannotCopy, match="may not read the source's tables"):
        copied(guest, target)
    owner.run(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {urlsplit(guest.url).username}")
    with pytest.raises(CannotCopy, match=WORDS):
        copied(source, guest)
    assert copied(guest, target) == counts(source.file)


def test_a_password_that_nobody_sees(private_postgres: Postgres, tmp_path: Path) -> None:
    """From PGPASSWORD or ~/.pgpass, for a source too; of one in --from there is a warning."""
    owner = Place(private_postgres.url)
    target = Place(f"sqlite:///{tmp_path / 'target.sqlite3'}")
    hba = private_postgres.folder / "data/pg_hba.conf"
    hba.write_text(f"host all guest 127.0.0.1/32 scram-sha-256\n{hba.read_text()}")
    owner.run("CREATE ROLE guest SUPERUSER LOGIN PASSWORD 'canary'", "SELECT pg_reload_conf()")
    url = owner.url.replace("//postgres@", "//guest@")
    passwords = tmp_path / ".pgpass"
    passwords.write_text("127.0.0.1:*:*:guest:canary\n")
    passwords.chmod(0o600)
    given: tuple[dict[str, str], ...] = ({"PGPASSWORD": "canary"}, {"HOME": str(tmp_path)}, {})
    for variables, code in zip(given, (0, 0, 2), strict=True):
        environment = {"HOME": "/nowhere", **variables, "REACH_DATABASE_URL": target.url}
        with ReachProcess("db", "copy", "--from", url, environment=environment) as process:
            assert process.wait(60) == code, process.errors
            is_let_in = "does not let us in" not in process.errors
            assert is_let_in == bool(variables), process.errors
            assert "Warning" not in process.errors
    shown = url.replace("guest@", "guest:canary@")
    environment = {"REACH_DATABASE_URL": target.url}
    with ReachProcess("db", "copy", "--from", shown, environment=environment) as process:
        assert process.wait(60) == 0, process.errors
        assert "sees the password in --from. Leave it out, and set PGPASSWORD" in process.errors
        assert "canary" not in process.errors
