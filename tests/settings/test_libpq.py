"""Postgres URLs: what providers give is taken as it is, and libpq's other words refused by name."""

import asyncio
import os
import re
import ssl
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest
import trustme

from reach.db.connect import open_database
from reach.db.errors import DatabaseUnavailable
from reach.db.transaction import Transaction
from reach.settings import Settings, database_url
from reach.settings.database_url import DatabaseUrl
from tests.support.servers.postgres import Postgres

MakeSettings = Callable[..., Settings]
PASSWORD = "AVNS_x-9/y+z=="
#: As their pages show them, with the password as it is: user, host, port, database.
PASTED = {
    "neon": (
        "postgresql://neondb_owner:{}@ep-cool-1-pooler.eu-central-1.aws.neon.tech/neondb",
        "?sslmode=require&channel_binding=require",
        ("neondb_owner", "ep-cool-1-pooler.eu-central-1.aws.neon.tech", None, "neondb"),
    ),
    "supabase": (
        "postgresql://postgres.abcdef:{}@aws-0-eu-central-1.pooler.supabase.com:6543/postgres",
        "?pgbouncer=true",
        ("postgres.abcdef", "aws-0-eu-central-1.pooler.supabase.com", 6543, "postgres"),
    ),
    "heroku": (
        "postgres://u1:{}@ec2-3-9-1-2.eu-west-1.compute.amazonaws.com:5432/d3",
        "",
        ("u1", "ec2-3-9-1-2.eu-west-1.compute.amazonaws.com", 5432, "d3"),
    ),
    "rds": (
        "postgresql://reach:{}@db.c1.eu-west-1.rds.amazonaws.com:5432/reach",
        "?sslmode=require&connect_timeout=10&application_name=signups",
        ("reach", "db.c1.eu-west-1.rds.amazonaws.com", 5432, "reach"),
    ),
    "crunchy": (
        "postgres://application:{}@p.ab3.db.postgresbridge.com:5432/postgres",
        "",
        ("application", "p.ab3.db.postgresbridge.com", 5432, "postgres"),
    ),
    "aiven": (
        "postgres://avnadmin:{}@pg-1-reach.a.aivencloud.com:12691/defaultdb",
        "?sslmode=require",
        ("avnadmin", "pg-1-reach.a.aivencloud.com", 12691, "defaultdb"),
    ),
    "digitalocean": (
        "postgresql://doadmin:{}@db-1-do-user-2-0.b.db.ondigitalocean.com:25060/defaultdb",
        "?sslmode=require",
        ("doadmin", "db-1-do-user-2-0.b.db.ondigitalocean.com", 25060, "defaultdb"),
    ),
}


@pytest.mark.parametrize("provider", PASTED)
def test_what_a_provider_shows(provider: str) -> None:
    """It is used as pasted."""
    text, parameters, parts = PASTED[provider]
    url = DatabaseUrl.parse(text.format(PASSWORD) + parameters)
    found = (url.url.username, url.url.host, url.url.port, url.url.database)
    assert found == parts
    assert url.url.password == PASSWORD
    assert not url.is_local


@pytest.mark.parametrize("name", database_url.REFUSED)
def test_a_parameter_that_is_not_offered(name: str) -> None:
    """It is named, and its value is not."""
    with pytest.raises(ValueError, match=rf"^has the parameter {name}, ") as refusal:
        DatabaseUrl.parse(f"postgresql://db/name?sslmode=require&{name}=canary")
    assert "canary" not in str(refusal.value)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ("gssencmode=require", "has a gssencmode that Reach does not offer; it offers disable, "),
        ("sslnegotiation=direct", "has an sslnegotiation that Reach does not offer"),
        ("target_session_attrs=standby", "has target_session_attrs=standby, and Reach writes"),
        ("target_session_attrs=x", "has a target_session_attrs that is not one of any, "),
        ("channel_binding=x", "has a channel_binding that is not one of disable, prefer, require"),
        ("channel_binding=require&sslmode=disable", "has channel_binding=require, which needs"),
        ("sslcert=/no/file", "has an sslcert, which needs an sslmode of require or more"),
        ("sslcert=/no/file&sslmode=require", "names an sslcert or sslkey that cannot be used"),
        ("sslkey=/no/file&sslmode=require", "has an sslkey without an sslcert"),
        ("connect_timeout=x", "has a connect_timeout that is not a whole number"),
        ("sslmode", "has a parameter (number 1 behind the ?) that is none of libpq's"),
        ("sslmode=require&x=y", "has a parameter (number 2 behind the ?) that is none of libpq's"),
        ("host=other", "names its host twice"),
        ("port=1,2", "must have one port, or one for each host"),
        ("password=%ff", "holds a % that begins no character"),
    ],
)
def test_a_value_that_is_not_offered(parameters: str, words: str) -> None:
    """The message names the value, and what there is instead."""
    with pytest.raises(ValueError, match="^" + re.escape(words)):
        DatabaseUrl.parse(f"postgresql://db/name?{parameters}")


@pytest.mark.parametrize(
    ("text", "hosts", "ports"),
    [
        ("postgresql://one,two:5433/n", ["one", "two"], [5432, 5433]),
        ("postgresql://[::1]:1,two:2/n", ["::1", "two"], [1, 2]),
        ("postgresql:///n?host=one,two&port=1,2", ["one", "two"], [1, 2]),
        ("postgresql:///n?host=one,::1&port=7", ["one", "::1"], [7, 7]),
        ("postgresql:///n?host=one:1&host=two:2", ["one", "two"], [1, 2]),
        ("postgresql:///n?host=/cloudsql/a:b:c", ["/cloudsql/a:b:c"], [5432]),
        ("postgresql://%2Frun%2Fpg:5433/n", ["/run/pg"], [5433]),
    ],
)
def test_several_servers_and_sockets(text: str, hosts: list[str], ports: list[int]) -> None:
    """As libpq writes them, and as SQLAlchemy does."""
    url = DatabaseUrl.parse(text + ("&" if "?" in text else "?") + "target_session_attrs=primary")
    assert url.connect_args["host"] == hosts
    assert url.connect_args["port"] == ports
    assert url.connect_args["target_session_attrs"] == "primary"
    assert url.url.host is None


def test_a_plus_is_a_plus() -> None:
    """In a URL's parameters, unlike a form's; a password among them is one."""
    url = DatabaseUrl.parse("postgresql:///n?user=a@b&password=p+q%2Br@&host=db")
    assert (url.url.username, url.url.password, url.url.host) == ("a@b", "p+q+r@", "db")
    assert str(url) == "postgresql://********@/n?host=db"


@pytest.mark.parametrize(
    ("parameters", "verify", "checks_name"),
    [
        ("sslmode=require&channel_binding=require", ssl.CERT_REQUIRED, True),
        ("channel_binding=require", ssl.CERT_REQUIRED, True),
        ("sslmode=verify-ca&channel_binding=require", ssl.CERT_REQUIRED, True),
        ("sslrootcert=system", ssl.CERT_REQUIRED, True),
        ("sslmode=require&sslrootcert=system", ssl.CERT_REQUIRED, True),
        ("sslmode=require&sslcert={cert}&sslkey={key}", ssl.CERT_NONE, False),
        ("sslmode=verify-full&sslcert={cert}&sslkey={key}", ssl.CERT_REQUIRED, True),
    ],
)
def test_what_proves_the_server(
    parameters: str, verify: ssl.VerifyMode, checks_name: bool, tmp_path: Path
) -> None:
    """A proof that the driver cannot have is made up for by the certificate, never left out."""
    cert, key = certificate(tmp_path, "reach")
    url = DatabaseUrl.parse(f"postgresql://db/name?{parameters.format(cert=cert, key=key)}")
    context = url.connect_args["ssl"]
    assert isinstance(context, ssl.SSLContext)
    assert (context.verify_mode, context.check_hostname) == (verify, checks_name)


def certificate(folder: Path, name: str, authority: trustme.CA | None = None) -> tuple[Path, Path]:
    """Make a certificate for a name (which is a host's and a role's), and its key, in a folder."""
    made = (authority or trustme.CA()).issue_cert(name, common_name=name)
    cert, key = folder / f"{name}.crt", folder / f"{name}.key"
    made.cert_chain_pems[0].write_to_path(cert)
    made.private_key_pem.write_to_path(key)
    key.chmod(0o600)
    return cert, key


@pytest.fixture
def secure_postgres(private_postgres: Postgres, tmp_path: Path) -> str:
    """A server that lets `reach` in by a certificate of our authority's: a URL for it."""
    data = private_postgres.folder / "data"
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    certificate(data, "127.0.0.1", authority)
    cert, key = certificate(tmp_path, "reach", authority)
    authority.cert_pem.write_to_path(data / "root.crt")
    for file in data.glob("*.[ck][re][ty]"):
        os.chown(file, data.stat().st_uid, data.stat().st_gid)
    hba = data / "pg_hba.conf"
    hba.write_text(f"hostssl all reach all cert\n{hba.read_text()}")
    (data / "postgresql.auto.conf").write_text(
        "ssl = on\nssl_ca_file = 'root.crt'\n"
        "ssl_cert_file = '127.0.0.1.crt'\nssl_key_file = '127.0.0.1.key'\n"
    )

    async def arm() -> None:
        connection = await asyncpg.connect(private_postgres.url)
        await connection.execute("CREATE ROLE reach LOGIN")
        await connection.close()

    asyncio.run(arm())
    private_postgres.stop()
    private_postgres.start()
    return (
        f"postgresql://reach@127.0.0.1:{private_postgres.port}/postgres?sslcert={cert}&sslkey={key}"
        f"&sslrootcert={tmp_path / 'authority.pem'}"
    )


def test_certificates_and_sessions(secure_postgres: str, make_settings: MakeSettings) -> None:
    """A real server is shown ours and shows its own; it is told what the URL says of a session."""
    more = "&application_name=a%40b&options=-c%20search_path%3Dpg_catalog"

    def look(tx: Transaction) -> tuple[str, ...]:
        settings = "current_setting('application_name'), current_setting('search_path')"
        return tuple(tx.exec_driver_sql(f"SELECT current_user, {settings}").one())

    async def ask(text: str) -> tuple[str, ...]:
        database = open_database(make_settings(database_url=text))
        try:
            return await database.read(look)
        finally:
            await database.close()

    for mode in ("sslmode=verify-full", "sslmode=require&channel_binding=require"):
        found = asyncio.run(ask(f"{secure_postgres}&{mode}{more}"))
        assert found == ("reach", "a@b", "pg_catalog")
    other = secure_postgres.replace("127.0.0.1:", "localhost:")  # of which it has no certificate
    assert asyncio.run(ask(f"{other}&sslmode=verify-ca"))[0] == "reach"
    with pytest.raises(DatabaseUnavailable):
        asyncio.run(ask(f"{other}&sslmode=require&channel_binding=require"))
