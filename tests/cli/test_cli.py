"""The `reach` command: exit codes, what is on which stream, and its parts as processes."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from pydantic import SecretStr

from docs.reference.cli import EXAMPLES
from reach.auth.keys import SCOPES
from reach.settings import Settings
from tests.support.processes.answers import answer_of, is_like
from tests.support.processes.commands import ReachProcess, run
from tests.support.processes.ports import free_port
from tests.support.processes.reach import ADA
from tests.support.processes.running import client, ended, everything, running_api
from tests.support.root import ROOT

MakeSettings = Callable[..., Settings]
KEY = re.compile(r"rk_[0-9A-Za-z]{46}\n")
RUNNING = ("up", "api", "worker")


def complaint(*arguments: str, **environment: str) -> str:
    """Run a command that is refused as misused (2), and return its stderr."""
    with ReachProcess(*arguments, environment=environment) as process:
        assert process.wait() == 2, everything(process)
        assert process.output == ""
        assert "Traceback" not in process.errors
        return process.errors


@pytest.mark.parametrize(
    "arguments",
    [
        "nonsense",
        "up --nonsense",
        "up --port x",
        "up --port 65536",
        "up extra",
        "api --processes 0",
        "worker --slots 0",
        "keys",
        "keys nonsense",
        "keys create",
        "keys create name",
        "keys create name --scope nonsense",
        "keys create name --scope people:read --scope nonsense",
        "keys revoke",
        "keys list --limit 0",
        "people",
        "people list --confirmed=maybe",
        "people list --since yesterday",
        "people list --sort random",
        "people add ada@example.com",
        "people change ada@example.com",
        "people erase",
        "messages list --state lost",
        "messages show 17",
        "messages retry",
        "messages retry 01a20aee-6a2a-7a2b-8fad-3dec2137a7f1 --state failed",
        "messages retry --state sent",
        "messages cancel",
        "audit",
        "audit list --action person.eat",
        "audit list --subject Ada",
        "db",
        "db copy",
        "db copy --to nonsense",
        "db copy --to sqlite:///x --from nonsense",
        "db backup",
        "db backup a\udcff",
    ],
)
def test_misuse_ends_with_2(arguments: str, tmp_path: Path) -> None:
    """Unknown commands, options and values, before anything is made."""
    folder = tmp_path / "data"
    with ReachProcess(*arguments.split(), environment={"REACH_DATA_DIR": str(folder)}) as process:
        assert process.wait() == 2, everything(process)
        assert "Traceback" not in process.errors
    assert not folder.exists()


@pytest.mark.parametrize("arguments", ["check --to nobody", "people import list.csv --map email"])
def test_what_a_command_itself_refuses_is_told_as_ever(arguments: str, tmp_path: Path) -> None:
    """Typer draws it by a library that commands do without, until then."""
    environment = {"REACH_DATA_DIR": str(tmp_path / "data")}
    with ReachProcess(*arguments.split(), environment=environment, cold=True) as process:
        assert process.wait() == 2, everything(process)
        assert f"Invalid value for {arguments.split()[-2]}: " in process.errors


def test_the_help_names_every_command() -> None:
    """Asked for, it is a success."""
    code, output = run("--help")
    assert code == 0
    for command in (*RUNNING, "migrate", "keys", "db", "check"):
        assert f" {command} " in output


@pytest.mark.parametrize("command", [*RUNNING, "migrate", "check"])
def test_bad_settings_end_with_2(command: str, tmp_path: Path) -> None:
    """A line for each variable; a secret given twice is refused too. No value is repeated."""
    data_dir = str(tmp_path / "data")
    lines = complaint(
        command, REACH_DATA_DIR=data_dir, REACH_PORT="canary", REACH_LOG_LEVEL="canary"
    ).splitlines()
    assert {line.partition(":")[0] for line in lines} == {"REACH_PORT", "REACH_LOG_LEVEL"}
    assert "canary" not in "".join(lines)
    twice = {"REACH_SECRET_KEY": "x" * 32, "REACH_SECRET_KEY_FILE": "/dev/null"}
    line = complaint(command, REACH_DATA_DIR=data_dir, **twice)
    assert line == "REACH_SECRET_KEY and REACH_SECRET_KEY_FILE are both set: keep one\n"
    assert not (tmp_path / "data").exists()


def test_an_unknown_variable_is_a_warning(sqlite: str) -> None:
    """It does not stop anything: an older version may be told of a newer one's settings."""
    with ReachProcess("keys", "list", environment={"REACH_PROT": "1"}, database_url=sqlite) as it:
        assert it.wait() == 0
        assert it.output == ""
        assert "REACH_PROT" in it.errors


def test_a_worker_without_a_mail_server(make_settings: MakeSettings, sqlite: str) -> None:
    """It has no mailbox: 2, and the variable is named once."""
    settings = make_settings(database_url=sqlite)
    with ReachProcess("worker", settings=settings) as process:
        assert process.wait() == 2
        (line,) = process.errors.splitlines()
        assert line.startswith("REACH_SMTP_URL must be set")


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        (("api", "--host", "0.0.0.0"), {}),
        (("api", "--host", "::"), {}),
        (("api",), {"host": "192.0.2.1"}),
        (("up", "--host", "0.0.0.0"), {"smtp_url": "smtp://127.0.0.1:9"}),
        (("worker",), {"smtp_url": "smtp://mail.example.org", "mail_from": "x@example.org"}),
        (
            ("worker",),
            {"smtp_url": "smtp://127.0.0.1:9", "database_url": "postgresql://db.example.org/n"},
        ),
    ],
)
async def test_links_to_nowhere(
    make_settings: MakeSettings, arguments: tuple[str, ...], changes: dict[str, str]
) -> None:
    """Nobody else could open http://127.0.0.1:8000: 2, and one line that says what to set."""
    settings = make_settings(port=free_port(), secret_key="x" * 32, **changes)
    with ReachProcess(*arguments, settings=settings) as process:
        assert await ended(process, 15) == 2
        (line,) = process.errors.splitlines()
        assert line.startswith("REACH_PUBLIC_URL must be set, such as https://")


def test_links_to_a_laptop_are_a_warning(make_settings: MakeSettings) -> None:
    """`reach up` on loopback may try a mail server that is elsewhere: it says where links lead."""
    settings = make_settings(port=free_port(), smtp_url="smtp://mail.invalid", mail_from="x@x.org")
    with ReachProcess("up", settings=settings) as process:
        process.wait_for("Reach is ready")
        assert f"Warning: links in emails lead to {settings.origin}," in process.errors


async def test_an_api_in_the_open_needs_no_mail_server(settings: Settings) -> None:
    """It never mails; what it does need is refused."""
    port = free_port()
    changes = {
        "host": "0.0.0.0",
        "port": port,
        "secret_key": SecretStr(""),
        "public_url": f"http://127.0.0.1:{port}",
    }
    exposed = settings.model_copy(update=changes)
    with ReachProcess("api", settings=exposed) as process:
        assert await ended(process, 15) == 2
        assert process.errors.startswith("REACH_SECRET_KEY must be set")
    safe = exposed.model_copy(update={"secret_key": SecretStr("x" * 32)})
    here = safe.model_copy(update={"host": "127.0.0.1"})
    async with running_api(safe), client(here) as http:
        assert (await http.post("/v1/signups", json=ADA)).status_code == httpx.codes.ACCEPTED


def test_keys_are_made_listed_and_revoked(settings: Settings) -> None:
    """The key alone is on stdout, once; the list has no secret; what is revoked says so."""
    scopes = ("--scope", "people:read", "--scope", "messages:read")
    code, key = run("keys", "create", "shop", *scopes, settings=settings)
    assert code == 0
    assert KEY.fullmatch(key)
    code, listed = run("keys", "list", settings=settings)
    assert code == 0
    id_, *shown, made, expires, used = listed.rstrip("\n").split("\t")
    assert UUID(id_).version == 7
    assert shown == [key[:11], "valid", "shop", "messages:read people:read"]
    assert made.endswith("Z")
    assert expires == used == ""
    assert key[11:].strip() not in listed
    assert run("keys", "revoke", "shop", settings=settings) == (2, "")  # and no --yes
    code, said = run("keys", "revoke", "shop", "--dry-run", settings=settings)
    assert (code, said) == (0, f"Would revoke {key[:11]}… (shop).\n")
    assert run("keys", "list", settings=settings)[1] == listed
    code, said = run("keys", "revoke", "shop", "--yes", settings=settings)
    assert (code, said) == (0, f"Revoked {key[:11]}… (shop).\n")
    assert run("keys", "list", settings=settings)[1].split()[2] == "revoked"
    assert run("keys", "revoke", "shop", "--yes", settings=settings) == (1, "")


@pytest.mark.parametrize(
    ("name", "days"),
    [("", "1"), (" ", "1"), ("a\nb", "1"), ("\udcff", "1"), ("x" * 101, "1")]
    + [("x", days) for days in ("-1", "nan", "inf", "1e12", "soon")],
)
def test_a_key_that_makes_no_sense(name: str, days: str, sqlite: str) -> None:
    """A name that a list could not show, a time that no calendar has: 2, and no key."""
    flags = ("--scope", "people:read", "--expires-days", days)
    complaint("keys", "create", name, *flags, REACH_DATABASE_URL=sqlite)


def test_an_unknown_scope_names_the_known(sqlite: str) -> None:
    """There are few enough to say them all."""
    words = complaint("keys", "create", "x", "--scope", "all", REACH_DATABASE_URL=sqlite)
    assert all(scope in words for scope in SCOPES)


def test_keys_without_a_database(tmp_path: Path) -> None:
    """2, and one line that says what would help; no key on stdout, for none was stored."""
    environment = {"REACH_DATA_DIR": str(tmp_path / "none")}
    arguments = ("keys", "create", "x", "--scope", "people:read")
    with ReachProcess(*arguments, environment=environment) as process:
        assert process.wait() == 2
        assert process.output == ""
        assert len(process.errors.splitlines()) == 1, process.errors
        assert "reach migrate" in process.errors


@pytest.mark.parametrize("where", ["/dev/full", "nobody", "closed"])
def test_output_that_cannot_be_written(sqlite: str, tmp_path: Path, where: str) -> None:
    """1 and a line that says so; a key that nobody has seen is void.

    Of a reader who has gone nothing is said, but for such a key.
    """
    environment = {**os.environ, "REACH_DATABASE_URL": sqlite, "REACH_DATA_DIR": str(tmp_path)}
    first = ""
    for arguments in (
        *("check", "keys list --json", "people export"),
        "keys create lost --scope people:read",
    ):
        done = subprocess.run(
            ["sh", "-c", INTO[where], "sh", sys.executable, "-m", "reach", *arguments.split()],
            env=environment,
            check=False,
            capture_output=True,
            text=True,
        )
        if where == "nobody" and "lost" not in arguments:
            assert (done.returncode, done.stderr) == (141, "")
            continue
        first, *others = done.stderr.splitlines()
        assert first.startswith("The output cannot be written: "), done.stderr
        assert (done.returncode, others) == (1, [])
    assert first.endswith("The key has been revoked.")
    code, listed = run("keys", "list", REACH_DATABASE_URL=sqlite)
    assert (code, listed.split()[2:4]) == (0, ["revoked", "lost"])


#: Shell, for a stdout that takes nothing: "$@" is run. A pipe's reader has gone when its named
#: pipe has been opened for both, and closed for reading.
INTO = {
    "/dev/full": 'exec "$@" >/dev/full',
    "closed": 'exec "$@" >&-',
    "nobody": (
        'pipe=$REACH_DATA_DIR/pipe; rm -f "$pipe"; mkfifo "$pipe"; exec 3<>"$pipe" 4>"$pipe" 3<&-;'
        ' exec "$@" >&4 4>&-'
    ),
}


@pytest.mark.parametrize(
    "module", ["typer", "reach.settings", "reach.runtime.processes", "uvicorn"]
)
def test_an_impatient_ctrl_c(sqlite: str, tmp_path: Path, module: str) -> None:
    """While it still imports: 130, without a traceback."""
    (tmp_path / "sitecustomize.py").write_text(IMPATIENT.replace("MODULE", module))
    path = {"PYTHONPATH": f"{tmp_path}:{ROOT / 'src'}", "REACH_DATABASE_URL": sqlite}
    with ReachProcess("api", environment=path) as process:
        assert process.wait() == 130
        assert everything(process) == ""


#: Ctrl-C comes when a module is about to be imported.
IMPATIENT = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "MODULE":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
"""


def test_up_says_that_its_database_is_unavailable(make_settings: MakeSettings) -> None:
    """It migrates first, so it cannot start without: 1 and one line, no address in it."""
    url = f"postgresql://u:canary@127.0.0.1:{free_port()}/canary"
    with ReachProcess("up", settings=make_settings(database_url=url, port=0)) as process:
        assert process.wait() == 1
        assert process.output == ""
        logged, line = process.errors.splitlines()
        assert json.loads(logged)["message"] == "a server cannot be reached"
        assert line.startswith("The database is unavailable for a moment.")
        assert "canary" not in process.errors


def test_what_is_done_as_a_whole_is_told_in_json(
    make_settings: MakeSettings, sqlite: str, migrated_file: Path, tmp_path: Path
) -> None:
    """Alone on stdout: what to do next is said beside."""
    smtp = {"smtp_url": f"smtp://127.0.0.1:{free_port()}", "mail_from": "x@example.org"}
    settings = make_settings(database_url=sqlite, **smtp)
    assert answer_of("migrate", settings=settings)["schema"].isdigit()
    file = tmp_path / "backup"
    made = answer_of("db", "backup", str(file), settings=settings)
    assert made == {"file": str(file), "bytes": file.stat().st_size}
    target = shutil.copy(migrated_file, tmp_path / "target.sqlite3")
    urls = ("--from", sqlite, "--to", f"sqlite:///{target}")
    assert answer_of("db", "copy", *urls, settings=settings)["rows"]["people"] == 0
    with ReachProcess("check", "--json", settings=settings) as process:
        assert process.wait() == 1
        output = process.output
    checked = json.loads(output)
    assert not checked["ok"]  # nobody listens at the mail server's port
    assert is_like(checked, EXAMPLES["check"][0])


def test_the_version_is_said() -> None:
    """On stdout, with the name of the command."""
    assert run("--version") == (0, f"reach {version('reach')}\n")


def test_make_alone_lists_the_targets() -> None:
    """Each with what it does."""
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("run", "test", "torture", "check", "bench"):
        assert re.search(rf"^ +{target}\s+\w+", done.stdout, re.MULTILINE)
    assert done.stderr == ""
