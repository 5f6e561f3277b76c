"""URLs: what is taken, what is refused, and that none of it is ever repeated."""

import ssl
from pathlib import Path

import pytest

from reach.limits.redis import Line
from reach.network.hosts import is_host, is_loopback
from reach.settings.database_url import DatabaseUrl
from reach.settings.urls import RedisUrl, SmtpUrl, as_browsers_write, parse_mailbox
from tests.support.servers.mail import Authority

CANARY = "s3cret-canary"
REFUSALS = r"^(must|its port|its host|names|has|holds|may|can be read in two ways)"


@pytest.mark.parametrize(
    ("text", "host", "port", "security"),
    [
        ("smtp://mail.example.org", "mail.example.org", 25, "plain"),
        ("smtps://mail.example.org", "mail.example.org", 465, "tls"),
        ("smtp+starttls://mail.example.org/", "mail.example.org", 587, "starttls"),
        ("smtp://mail.example.org:2525", "mail.example.org", 2525, "plain"),
        ("SMTP://[::1]:1025", "::1", 1025, "plain"),
        ("smtp://[fe80::1%25eth0]", "fe80::1%eth0", 25, "plain"),
    ],
)
def test_mail_servers(text: str, host: str, port: int, security: str) -> None:
    """The scheme says how secure it is, and with that the port, unless that is said too."""
    url = SmtpUrl.parse(text)
    assert (url.host, url.port, url.security) == (host, port, security)
    assert (url.username, url.password) == (None, None)


def test_credentials_are_percent_decoded() -> None:
    """Any character can be in a user's name or password."""
    url = SmtpUrl.parse("smtps://user%40example.org:a%2Fb%3Ac%23%25@mail.example.org")
    assert (url.username, url.password) == ("user@example.org", "a/b:c#%")


@pytest.mark.parametrize(
    "text",
    [
        f"http://user:{CANARY}@host",
        f"smtp+tls://user:{CANARY}@host",
        f"user:{CANARY}@host",
        f"smtp://user:{CANARY}@host:99999",
        f"smtp://user:{CANARY}@host:port",
        f"smtp://user:{CANARY}@",
        f"smtp://user:{CANARY}@host/path",
        f"smtp://user:{CANARY}@host?tls=no",
        f"smtp://user:{CANARY}@host#no",
        f"smtp://user:{CANARY}@[::1",
        f"smtp://user:{CANARY}@ho\u2100st",
        f"smtp://user:{CANARY}@one,two",
        f"smtp://user:{CANARY}@*.example.org",
        f"smtp://user:{CANARY}%ff@host",
        f"smtp://user:{CANARY}%00@host",
    ],
)
def test_a_bad_mail_server_is_refused(text: str) -> None:
    """In words that do not hold the password."""
    with pytest.raises(ValueError, match=REFUSALS) as refusal:
        SmtpUrl.parse(text)
    assert CANARY not in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [
        f"mysql://user:{CANARY}@host/name",
        f"postgresql+asyncpg://user:{CANARY}@host/name",
        "sqlite+aiosqlite:///file",
        f"user:{CANARY}@host",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite://host/file",
        "sqlite:///file?mode=ro",
        f"postgresql://user:{CANARY}@host:99999/name",
        f"postgresql://user:{CANARY}@host:0/name",
        f"postgresql://user:{CANARY}@host:port/name",
        f"postgresql://user:{CANARY}@[::1/name",
        f"postgresql://user:{CANARY}@ho\u2100st/name",
        f"postgresql://user:{CANARY}@one,/name",
        f"postgresql://user:12/{CANARY}@host/name",
        f"postgresql://user:1@two/{CANARY}@host/name",
        f"postgresql://host/name?password={CANARY}&{CANARY}=",
        f"postgresql://host/name?password={CANARY}&{CANARY}",
        f"postgresql://host/name?password={CANARY}#{CANARY}",
        f"postgresql://user:{CANARY}@host/name?sslmode=yes",
        f"postgresql://user:{CANARY}@host/name?sslmode=verify-full&sslrootcert=/no/such/file",
        f"postgresql://user:{CANARY}@host/name?service=x",
    ],
)
def test_a_bad_database_is_refused(text: str) -> None:
    """Driver suffixes, files that are none, ports and parameters: in words without a secret."""
    with pytest.raises(ValueError, match=REFUSALS) as refusal:
        DatabaseUrl.parse(text)
    assert CANARY not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "file"),
    [
        ("sqlite:///reach.sqlite3", "reach.sqlite3"),
        ("sqlite:///folder/reach.sqlite3", "folder/reach.sqlite3"),
        ("sqlite:////var/lib/reach.sqlite3", "/var/lib/reach.sqlite3"),
    ],
)
def test_files(text: str, file: str) -> None:
    """Three slashes and a relative path, or four and an absolute one."""
    url = DatabaseUrl.parse(text)
    assert url.is_sqlite
    assert url.url.database == file
    assert str(url) == text


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_servers(scheme: str) -> None:
    """Both names of Postgres, its parts percent-decoded."""
    url = DatabaseUrl.parse(f"{scheme}://us%2Fer:p%40ss@db.example.org:6432/name")
    parts = (url.url.username, url.url.password, url.url.host, url.url.port, url.url.database)
    assert parts == ("us/er", "p@ss", "db.example.org", 6432, "name")
    assert not url.is_sqlite
    assert url.connect_args == {}


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require"])
def test_modes_without_a_certificate(mode: str) -> None:
    """They are asyncpg's words too."""
    url = DatabaseUrl.parse(f"postgresql://db/name?sslmode={mode}")
    assert url.connect_args == {"ssl": mode}
    assert not url.url.query


@pytest.mark.parametrize(
    ("mode", "checks_name"), [("require", False), ("verify-ca", False), ("verify-full", True)]
)
def test_a_root_certificate_verifies(mode: str, checks_name: bool, tmp_path: Path) -> None:
    """As in libpq, `require` with a root certificate verifies, and only verify-full the name."""
    root = Authority(tmp_path).file
    url = DatabaseUrl.parse(f"postgresql://db/name?sslmode={mode}&sslrootcert={root}")
    context = url.connect_args["ssl"]
    assert isinstance(context, ssl.SSLContext)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname is checks_name
    assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize("root", ["", "&sslrootcert=system"])
def test_verification_without_a_file(root: str) -> None:
    """The system's authorities are trusted then, and nobody else."""
    url = DatabaseUrl.parse(f"postgresql://db/name?sslmode=verify-full{root}")
    context = url.connect_args["ssl"]
    assert isinstance(context, ssl.SSLContext)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"postgres://me:{CANARY}@db:5432/name", "postgresql://********@db:5432/name"),
        (f"postgresql://me:{CANARY}/x@db/name", "postgresql://********@db/name"),
        (
            f"postgresql:///name?host=/run/pg&user=me&password={CANARY}",
            "postgresql://********@/name?host=/run/pg",
        ),
        ("postgresql://db/name", "postgresql://db/name"),
    ],
)
def test_a_shown_database_has_no_credentials(text: str, shown: str) -> None:
    """Its host and name are shown, who logs in with what is not."""
    assert str(DatabaseUrl.parse(text)) == shown


def test_a_shown_mail_server_has_no_credentials() -> None:
    """Its host is shown, who logs in is not."""
    assert str(SmtpUrl.parse(f"smtps://me:{CANARY}@mail:2465")) == "smtps://********@mail:2465"
    assert str(SmtpUrl.parse("smtp://[::1]")) == "smtp://[::1]:25"


@pytest.mark.parametrize(
    ("text", "shown", "login"),
    [
        ("redis://cache", "redis://cache:6379", (None, None)),
        ("REDIS://Cache:6380/3", "redis://cache:6380/3", (None, None)),
        ("redis://:p@[::1]/0", "redis://********@[::1]:6379/0", (None, "p")),
        # DigitalOcean, Upstash, Heroku.
        (
            f"rediss://default:AVNS_{CANARY}@db-1.b.db.ondigitalocean.com:25061",
            "rediss://********@db-1.b.db.ondigitalocean.com:25061",
            ("default", f"AVNS_{CANARY}"),
        ),
        (
            f"rediss://default:A/{CANARY}+=@usw1-x-1.upstash.io:6379",
            "rediss://********@usw1-x-1.upstash.io:6379",
            ("default", f"A/{CANARY}+="),
        ),
        (
            f"rediss://:p{CANARY}@ec2-3-9-1-2.compute-1.amazonaws.com:25061",
            "rediss://********@ec2-3-9-1-2.compute-1.amazonaws.com:25061",
            (None, f"p{CANARY}"),
        ),
    ],
)
def test_redis_servers(text: str, shown: str, login: tuple[str | None, str | None]) -> None:
    """The library that counts takes each, and is never handed a URL with a login in it."""
    url = RedisUrl.parse(text)
    assert str(url) == shown
    assert (url.username, url.password) == login
    assert "@" not in url.url
    Line(url)


@pytest.mark.parametrize(
    "text",
    [
        f"http://:{CANARY}@cache",
        f"redis://:{CANARY}@",
        f"redis://:{CANARY}@cache:0",
        f"redis://:{CANARY}@cache:{CANARY}",
        f"redis://:{CANARY}@cache/name",
        f"rediss://:{CANARY}@cache?ssl_cert_reqs=none",
        f"redis://:{CANARY}@one,two",
    ],
)
def test_a_bad_redis_is_refused(text: str) -> None:
    """The refusal shows nothing of the password."""
    with pytest.raises(ValueError, match=REFUSALS) as refusal:
        RedisUrl.parse(text)
    assert CANARY not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "username", "password"),
    [
        # SES, Postmark (one token for both), Mailgun, SendGrid.
        (
            "smtp+starttls://AKIAX:BC/de+fg=@email-smtp.eu-west-1.amazonaws.com:587",
            "AKIAX",
            "BC/de+fg=",
        ),
        ("smtp+starttls://0a-1b:0a-1b@smtp.postmarkapp.com:587", "0a-1b", "0a-1b"),
        (
            "smtps://postmaster@mg.example.org:k/e+y=-1@smtp.eu.mailgun.org:465",
            "postmaster@mg.example.org",
            "k/e+y=-1",
        ),
        ("smtp+starttls://apikey:SG.x_y-z/+=@smtp.sendgrid.net:587", "apikey", "SG.x_y-z/+="),
    ],
)
def test_what_a_mail_provider_shows(text: str, username: str, password: str) -> None:
    """It is used as pasted, and neither user nor password is shown."""
    url = SmtpUrl.parse(text)
    assert (url.username, url.password) == (username, password)
    told = str(url) + repr(url) + repr(url.login)
    assert username not in told
    assert password not in told


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:10.0.0.1", False),
        ("localhost", True),
        ("LOCALHOST.", True),
        ("reach.localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("192.0.2.1", False),
        ("localhost.example.org", False),
        ("notlocalhost", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    """Only what can be nothing but this machine."""
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("host", "is_one"),
    [
        (".".join([*["d" * 63] * 3, "d" * 61]), True),
        (".".join([*["d" * 63] * 3, "d" * 61, ""]), True),
        (".".join([*["d" * 63] * 3, "d" * 62]), False),
        # 245 letters, and 281 octets as DNS has them.
        (".".join(["ü" * 40] * 6), False),
        (".".join(["ü" * 40] * 5), True),
    ],
    ids=["253 octets", "and a dot at the end", "254 octets", "281 octets", "234 octets"],
)
def test_a_name_is_as_long_as_dns_has_it(host: str, is_one: bool) -> None:
    """In octets of its A-labels (RFC 1035 §2.3.4), and not in what was typed."""
    assert is_host(host) is is_one


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("https://example.org", "https://example.org"),
        ("HTTPS://Example.ORG:443/", "https://example.org"),
        ("http://example.org:80", "http://example.org"),
        ("http://example.org:443", "http://example.org:443"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
    ],
)
def test_a_web_site_as_browsers_write_it(given: str, written: str) -> None:
    """So that a setting can be compared with an ``Origin``."""
    assert as_browsers_write(given) == written


@pytest.mark.parametrize(
    ("text", "name", "address"),
    [
        ("hello@example.org", "", "hello@example.org"),
        ("Reach <hello@example.org> ", "Reach", "hello@example.org"),
        ('"Reach, Inc." <hello@example.org>', "Reach, Inc.", "hello@example.org"),
        ("hello@[192.0.2.1]", "", "hello@[192.0.2.1]"),
        ('"h i"@example.org', "", '"h i"@example.org'),
        ("reach@localhost", "", "reach@localhost"),
    ],
)
def test_who_sends_is_read_as_it_is_written(text: str, name: str, address: str) -> None:
    """With a name or without one."""
    found = parse_mailbox(text)
    assert (found.display_name, found.addr_spec) == (name, address)


@pytest.mark.parametrize(
    "text",
    [
        "a@x.org;b@x.org",
        "a@x.org, b@x.org",
        "a@x.org>",
        "a@[192.0.2.1",
        "a@x..org",
        '"-@[:?=',
        '"a@b"',
        "a@b@c",
        "Reach <a@x.org> and more",
    ],
)
def test_who_sends_is_read_whole_or_refused(text: str) -> None:
    """A slip is told at the start: a part of it would be somebody else's address."""
    with pytest.raises(ValueError, match="must be"):
        parse_mailbox(text)
