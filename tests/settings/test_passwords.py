"""Passwords of servers: any can be used, as pasted or encoded, and no part of one is ever told."""

import asyncio
import traceback
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import anyio.to_thread
import asyncpg
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as how
from hypothesis import strategies as st

from reach.checks import check_all
from reach.cli.database import NO_TARGET
from reach.db.connect import open_database
from reach.limits.redis import Line
from reach.settings import BadSettings, Settings, load
from reach.settings.database_url import DatabaseUrl
from reach.settings.urls import RedisUrl, SmtpUrl
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.servers.mail import MailServer
from tests.support.servers.postgres import Postgres
from tests.support.servers.redis import Redis

MakeSettings = Callable[..., Settings]
#: It is between any two of the others, so that each part of a password can be told from all else.
CANARY = "zqxj"
PIECES = [*"/?#[]@:%&=+;,!\"' \\^{}|~1é", "%40", "%zz", "?options=", "&service=", "host="]
PASSWORDS = st.lists(st.sampled_from(PIECES), max_size=6).map(
    lambda pieces: CANARY + "".join(piece + CANARY for piece in pieces)
)
#: Those that begin with a port, or another host, are the hard ones.
HARD = st.tuples(st.sampled_from(["", "1", "12/", "1?options=", "a@b", "a@b/"]), PASSWORDS).map(
    "".join
)
HOSTILE = 'pa/ss?w@rd#[1]:%&=+ \\"é'
KINDS: dict[str, tuple[str, type[DatabaseUrl | SmtpUrl | RedisUrl]]] = {
    "database": ("postgresql://reach:{}@127.0.0.1:{}/name?sslmode=prefer", DatabaseUrl),
    "smtp": ("smtp://reach:{}@127.0.0.1:{}", SmtpUrl),
    "redis": ("redis://reach:{}@127.0.0.1:{}/0", RedisUrl),
}


def url_of(kind: str, password: str, port: int = 9) -> str:
    """Write a URL of its kind with this between the user and the host."""
    return KINDS[kind][0].format(password, port)


def all_that_is_told(error: BaseException) -> str:
    """Write an error as a traceback shows it, with those that led to it."""
    return "".join(traceback.format_exception(error)) + repr(error)


def parsed(kind: str, password: str) -> tuple[DatabaseUrl | SmtpUrl | RedisUrl | None, str]:
    """Read a URL with this password; if it is refused, with what words."""
    try:
        return KINDS[kind][1].parse(url_of(kind, password)), ""
    except ValueError as error:
        return None, all_that_is_told(error)


@pytest.mark.parametrize("kind", KINDS)
@given(password=HARD)
@how(deadline=None)
@example("12/zqxj@zqxj")
@example("1?options=zqxj@zqxj")
@example("a@b/zqxj")
def test_a_password_as_pasted(kind: str, password: str) -> None:
    """It is taken for what it is, or refused in words that hold no part of it.

    In a mail server's and a Redis's URL nothing can stand behind the host, so any is taken there.
    """
    url, told = parsed(kind, password)
    assert CANARY not in told
    if url is None:
        assert kind == "database" or "%" in password
        return
    assert CANARY not in str(url) + repr(url) + repr(url.login)
    assert "%" in password or url.login.password == password


@pytest.mark.parametrize("kind", KINDS)
@given(password=HARD)
@how(deadline=None)
def test_a_password_encoded(kind: str, password: str) -> None:
    """Encoded, any is taken for what it is."""
    url = KINDS[kind][1].parse(url_of(kind, quote(password, safe="")))
    assert url.login.password == password
    assert CANARY not in str(url) + repr(url)


@pytest.mark.parametrize("kind", KINDS)
@given(password=HARD)
@how(deadline=None)
def test_a_password_in_its_own_variable(kind: str, password: str) -> None:
    """There any is taken as it is; one in the URL too is refused by the names of both."""
    where = url_of(kind, "x").replace("reach:x@", "reach@")
    settings = load({f"{kind}_url": where, f"{kind}_password": password})
    assert getattr(settings, kind).login.password == password
    assert CANARY not in repr(settings) + str(settings) + repr(getattr(settings, kind))
    twice = {f"{kind}_url": url_of(kind, quote(password, safe="")), f"{kind}_password": password}
    with pytest.raises(BadSettings) as refusal:
        load(twice)
    assert f"REACH_{kind.upper()}_URL and REACH_{kind.upper()}_PASSWORD" in str(refusal.value)
    assert CANARY not in str(refusal.value)


@pytest.mark.filterwarnings("ignore:Call to '__init__' function:DeprecationWarning")
@given(password=HARD, is_encoded=st.booleans())
@how(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12, deadline=None)
def test_nothing_is_told_of_servers_that_are_unavailable(
    password: str, is_encoded: bool, tmp_path: Path
) -> None:
    """By `reach check`, by the refusal of settings, by an exception of a library: no part of it."""
    written = quote(password, safe="") if is_encoded else password
    ports = free_port(), free_port(), free_port()
    urls = {f"{kind}_url": url_of(kind, written, ports[n]) for n, kind in enumerate(KINDS)}
    told: list[str] = []
    try:
        settings = load({"data_dir": tmp_path, "mail_from": "reach@localhost", **urls})
    except BadSettings as error:
        told.append(all_that_is_told(error))
    else:
        asyncio.run(_look(settings, told))
    text = "\n".join(told)
    assert CANARY not in text
    away = ["!! database", "!! redis", "!! smtp"]
    assert [words for words in away if words in text] == away or not is_encoded


async def _look(settings: Settings, told: list[str]) -> None:
    """Ask three servers that are not there, and keep what is said of that, as exceptions too."""
    await check_all(settings, lambda line: told.append(line.text), shows_all=True)
    database = open_database(settings)
    assert settings.redis is not None
    line = Line(settings.redis)
    try:
        for asking in (database.read(lambda tx: tx.exec_driver_sql("SELECT 1")), line.probe()):
            try:
                await asking
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not tell
                told.append(all_that_is_told(error))
        told += [repr(database), repr(line), repr(vars(line))]
    finally:
        await database.close()
        await line.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("password", ["zqxj@zqxj[zqxj", "1/zqxj@h"], ids=["taken", "refused"])
def test_a_process_tells_nothing(kind: str, password: str, tmp_path: Path) -> None:
    """Whatever it says on either stream, of a URL that it takes or refuses."""
    url = url_of(kind, password, free_port())
    variables = {"REACH_DATA_DIR": str(tmp_path), f"REACH_{kind.upper()}_URL": url}
    with ReachProcess("check", environment=variables) as process:
        assert process.wait() in (1, 2)
        assert kind in (process.output + process.errors).lower()
        assert CANARY not in process.output + process.errors


@pytest.mark.parametrize("option", ["--from", "--to"])
@pytest.mark.parametrize("password", ["zqxj@zqxj", "zqxj%ff"], ids=["taken", "refused"])
def test_a_copy_tells_nothing(option: str, password: str, tmp_path: Path) -> None:
    """Neither of where from nor of where to."""
    url = url_of("database", password, free_port())
    other = f"sqlite:///{tmp_path / 'other.sqlite3'}"
    with ReachProcess("db", "copy", option, url, data_dir=tmp_path, database_url=other) as process:
        assert process.wait() in (1, 2)
        assert NO_TARGET not in process.errors
        assert CANARY not in process.output + process.errors


@pytest.fixture(params=["as pasted", "encoded", "a variable"])
def written(request: pytest.FixtureRequest) -> Callable[[str, str], dict[str, str]]:
    """Give the ways of handing a hostile password over: settings for a kind and a URL."""

    def write(kind: str, url: str) -> dict[str, str]:
        if request.param == "a variable":
            return {f"{kind}_url": url.format(""), f"{kind}_password": HOSTILE}
        password = quote(HOSTILE, safe="") if request.param == "encoded" else HOSTILE
        if request.param == "as pasted":  # what is no encoding is taken as it is; this is one
            password = password.replace("%", "%25")
        return {f"{kind}_url": url.format(f":{password}")}

    return write


def says(settings: Settings, subject: str) -> str:
    """Run `reach check`, and choose what it says of one thing."""
    with ReachProcess("check", settings=settings) as process:
        process.wait()
        assert "ss?w" not in process.output + process.errors
        (line,) = [x for x in process.output.splitlines() if x[2:].startswith(f" {subject}: ")]
        return line


def test_a_hostile_password_at_postgres(
    private_postgres: Postgres, make_settings: MakeSettings, written: Callable[..., dict[str, str]]
) -> None:
    """A real server, which asks for it."""
    literal = HOSTILE.replace("'", "''")

    async def arm() -> None:
        connection = await asyncpg.connect(private_postgres.url)
        await connection.execute(f"CREATE ROLE reach LOGIN SUPERUSER PASSWORD '{literal}'")
        await connection.execute("SELECT pg_reload_conf()")
        await connection.close()

    hba = private_postgres.folder / "data/pg_hba.conf"
    hba.write_text(f"host all reach all scram-sha-256\n{hba.read_text()}")
    asyncio.run(arm())
    where = f"postgresql://reach{{}}@127.0.0.1:{private_postgres.port}/postgres"
    settings = make_settings(**written("database", where))
    assert says(settings, "database").startswith("ok database: answers")
    wrong = make_settings(database_url=where.format(":p@ssword"))
    assert "does not let us in" in says(wrong, "database")


def test_a_hostile_password_at_redis(
    redis: Redis, make_settings: MakeSettings, sqlite: str, written: Callable[..., dict[str, str]]
) -> None:
    """Redis is asked with the password as it was set."""
    redis.do("ACL", "SETUSER", "reach", "on", "allkeys", "allcommands", f">{HOSTILE}")
    redis.do("CONFIG", "SET", "requirepass", "another")
    given = written("redis", f"redis://reach{{}}@127.0.0.1:{redis.port}")
    assert says(make_settings(database_url=sqlite, **given), "redis").startswith(
        "ok redis: answers"
    )


async def test_a_hostile_password_at_a_mail_server(
    make_settings: MakeSettings, sqlite: str, written: Callable[..., dict[str, str]]
) -> None:
    """A login takes the password as it was set."""
    async with MailServer(login=("reach", HOSTILE), requires_auth=True) as server:
        given = written("smtp", f"smtp://reach{{}}@127.0.0.1:{server.port}")
        settings = make_settings(database_url=sqlite, mail_from="reach@localhost", **given)
        said = await anyio.to_thread.run_sync(says, settings, "smtp")
        assert said.startswith("ok smtp: ")
        assert "lets us in" in said
