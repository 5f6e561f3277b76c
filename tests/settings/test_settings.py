"""Settings: read once, refused in clear lines, and no value ever repeated."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from reach.settings import SECRETS, BadSettings, Settings, load, unknown_variables

CANARY = "canary-4711"
LONG = "x" * 32
WEBHOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
#: What a user or a password is set beside.
LOGINS = {
    "database_user": {"DATABASE_URL": "postgresql://db/name"},
    "database_password": {"DATABASE_URL": "postgresql://db/name"},
    "smtp_user": {"SMTP_URL": "smtp://mail", "SMTP_PASSWORD": "p"},
    "smtp_password": {"SMTP_URL": "smtp://u@mail"},
    "redis_user": {"REDIS_URL": "redis://cache"},
    "redis_password": {"REDIS_URL": "redis://u@cache"},
    "bounce_mailbox_user": {"BOUNCE_MAILBOX_URL": "imaps://mail", "BOUNCE_MAILBOX_PASSWORD": "p"},
    "bounce_mailbox_password": {"BOUNCE_MAILBOX_URL": "imaps://u@mail/INBOX"},
}
#: What the client's secret is set beside.
OIDC = {
    "OIDC_ISSUER": "https://login.example.org",
    "OIDC_CLIENT_ID": "reach",
    "OIDC_GRANTS": "ada@example.org=*",
}
#: What the secrets of a token are set beside.
OAUTH = {
    "SMTP_URL": "smtps://reach@mail",
    "SMTP_OAUTH_TOKEN_URL": "https://login.example.org/token",
    "SMTP_OAUTH_CLIENT_ID": "reach",
    "SMTP_OAUTH_REFRESH_TOKEN": "1//0abc-_",
}


def environment(patch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    """Set REACH_ variables, named without that."""
    for name, value in variables.items():
        patch.setenv(f"REACH_{name}", value)


def test_the_defaults_run_on_this_machine() -> None:
    """Nothing needs to be set on a laptop: SQLite, the mailbox, loopback."""
    settings = load()
    settings.require_safe_exposure()
    assert str(settings.database) == "sqlite:///reach-data/reach.sqlite3"
    assert settings.smtp is None
    assert settings.origin == "http://127.0.0.1:8000"
    assert not settings.is_exposed


def test_flags_beat_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag that was given counts; one that was not leaves the variable."""
    environment(monkeypatch, {"PORT": "9001", "HOST": "::1"})
    settings = load({"port": 9002, "host": None})
    assert (settings.port, settings.host) == (9002, "::1")
    assert settings.origin == "http://[::1]:9002"


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose files and charts set variables that have no value."""
    environment(monkeypatch, {name.upper(): "" for name in Settings.model_fields})
    environment(monkeypatch, {f"{name.upper()}_FILE": "" for name in SECRETS})
    assert load() == Settings.model_construct()
    assert unknown_variables() == []


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_from_a_file(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """X_FILE names a file that holds X, with or without a line's end; both at once are refused."""
    values = {
        "database_url": "postgresql://db/name",
        "database_direct_url": "postgresql://db:5433/name",
        "redis_url": "redis://cache",
        "smtp_url": "smtp://mail",
        "bounce_mailbox_url": "imaps://u:p@mail:1993/Reports",
        "smtp_urls": "smtp://u:a,b@mail, smtp://other",
        **dict.fromkeys(LOGINS, "a/b:c#%41@ \u00e9"),
        "secret_key": LONG,
        "dkim_private_key": "-----BEGIN …\n…\n-----END …",
        "oidc_client_secret": "a/b:c#%41@ \u00e9",
        "smtp_oauth_client_secret": "a/b:c#%41@ \u00e9",
        "smtp_oauth_refresh_token": "1//0abc-_",
        "bounces_postmark_secret": LONG,
        "bounces_mailgun_key": "key-0123456789",
        "bounces_resend_secret": WEBHOOK_SECRET,
        "bounces_generic_secret": WEBHOOK_SECRET,
    }
    file = tmp_path / "secret"
    environment(monkeypatch, LOGINS.get(name, {}))
    if name == "oidc_client_secret":
        environment(monkeypatch, OIDC)
    if name.startswith("smtp_oauth"):
        others = {key: value for key, value in OAUTH.items() if key != name.upper()}
        environment(monkeypatch, others)
    environment(monkeypatch, {f"{name.upper()}_FILE": str(file)})
    if name == "database_direct_url":
        environment(monkeypatch, {"DATABASE_URL": values["database_url"]})
    for end in ("", "\n", "\r\n"):
        file.write_text(values[name] + end, encoding="utf-8", newline="")
        assert getattr(load(), name).get_secret_value() == values[name]
    environment(monkeypatch, {name.upper(): values[name]})
    with pytest.raises(BadSettings, match=f"REACH_{name.upper()}_FILE are both set"):
        load()


def test_a_secrets_file_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Missing, a folder, or not text: a line that names the variable."""
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "missing", tmp_path, binary):
        monkeypatch.setenv("REACH_SECRET_KEY_FILE", str(path))
        with pytest.raises(BadSettings, match=r"^REACH_SECRET_KEY_FILE cannot be read: .+$"):
            load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", CANARY),
        ("PORT", "65536"),
        ("PROCESSES", "0"),
        ("DATABASE_URL", f"mysql://{CANARY}"),
        ("DATABASE_URL", f"postgresql://u:{CANARY}@h:99999/n"),
        ("SMTP_URL", f"smtp://{CANARY}@host"),
        ("PUBLIC_URL", f"ftp://{CANARY}"),
        ("PUBLIC_URL", f"https://{CANARY}/path"),
        ("PUBLIC_URL", f"https://user:{CANARY}@host"),
        ("PUBLIC_URL", f"https://{CANARY}:99999"),
        ("PUBLIC_URL", f"https://{CANARY}\r\nX: y"),
        ("PUBLIC_URL", f"https://[{CANARY}"),
        ("PUBLIC_URL", f"https://*.{CANARY}.org"),
        ("PUBLIC_URL", "https://*"),
        ("PUBLIC_URL", f"https://{CANARY}..org"),
        ("PUBLIC_URL", f"https://-{CANARY}.org"),
        ("PUBLIC_URL", "https://256.1.1.1"),
        ("PUBLIC_URL", "https://[::g]"),
        ("PUBLIC_URL", f"https://{'x' * 64}.org"),
        ("PUBLIC_URL", "http://0.0.0.0:8000"),
        ("PUBLIC_URL", "http://[0:0:0:0:0:0:0:0]:8000"),
        ("PUBLIC_URL", "http://[::ffff:0.0.0.0]:8000"),
        ("PUBLIC_URL", "http://[::]:8000"),
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", f"https://example.org, https://*.{CANARY}.org"),
        ("CORS_ORIGINS", f"https://{CANARY}_/x"),
        ("SMTP_URL", f"smtp://:{CANARY}@host"),
        ("MAIL_FROM", CANARY),
        ("MAIL_FROM", f"{CANARY}\r\nBcc: a@example.com"),
        ("REPLY_TO", f"{CANARY}@"),
        ("LEASE_SECONDS", f"{CANARY}"),
        ("LEASE_SECONDS", "0"),
        ("LEASE_SECONDS", "nan"),
        ("LEASE_SECONDS", "inf"),
        ("GRACE_SECONDS", "-1"),
        ("WORKER_SLOTS", "1.5"),
        ("SMTPUTF8", CANARY),
        ("LOG_LEVEL", CANARY),
        ("BRAND_NAME", "x" * 61),
        ("DATABASE_SECONDS", "61"),
        ("DKIM_SELECTOR", f"{CANARY}_"),
        ("DKIM_SELECTOR", f"{CANARY};p=x"),
        ("DKIM_SELECTOR", f"{CANARY}."),
        ("DKIM_DOMAIN", f"-{CANARY}.example.org"),
        ("DKIM_DOMAIN", f"{CANARY}..org"),
        ("DKIM_DOMAIN", f"{CANARY}.org\r\nX: y"),
        ("DKIM_DOMAIN", f"{CANARY}." + "x" * 64),
        ("DKIM_DOMAIN", f"{CANARY}." * 30 + "org"),
        ("DNS_SERVERS", CANARY),
        ("DNS_SERVERS", "9.9.9.9, 256.1.1.1"),
        ("DNS_SERVERS", "9.9.9.9:0"),
        ("DNS_SERVERS", "9.9.9.9:65536"),
        ("DNS_SERVERS", "[9.9.9.9"),
    ],
)
def test_a_bad_value_is_one_line(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the variable and not the value."""
    environment(monkeypatch, {name: value})
    with pytest.raises(BadSettings) as refusal:
        load()
    line = str(refusal.value)
    assert line.startswith(f"REACH_{name}: ")
    assert "\n" not in line
    assert CANARY not in line


def test_name_servers_may_have_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of both kinds, with and without; with none, the system's are asked."""
    assert load().name_servers == []
    text = "9.9.9.9, 127.0.0.1:5353 2620:fe::fe,[2620:fe::fe]:54 [::1]"
    environment(monkeypatch, {"DNS_SERVERS": text})
    assert load().name_servers == [
        ("9.9.9.9", 53),
        ("127.0.0.1", 5353),
        ("2620:fe::fe", 53),
        ("2620:fe::fe", 54),
        ("::1", 53),
    ]


def test_every_bad_value_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line each: nobody likes to be told one thing at a time."""
    environment(monkeypatch, {"PORT": "x", "SMTP_URL": "x", "PROCESSES": "x"})
    with pytest.raises(BadSettings) as refusal:
        load()
    named = {line.partition(":")[0] for line in str(refusal.value).splitlines()}
    assert named == {"REACH_PORT", "REACH_SMTP_URL", "REACH_PROCESSES"}


@pytest.mark.parametrize("name", ["RETRY", "BREAKER"])
def test_a_first_wait_above_its_cap(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two settings that contradict each other."""
    environment(monkeypatch, {f"{name}_FIRST_SECONDS": "10", f"{name}_CAP_SECONDS": "9"})
    with pytest.raises(BadSettings, match=f"^REACH_{name}_FIRST_SECONDS is above its cap$"):
        load()


SAFE = {
    "host": "0.0.0.0",
    "secret_key": LONG,
    "smtp_url": "smtps://u:p@mail.example.org",
    "mail_from": "hello@example.org",
    "public_url": "https://signup.example.org",
}
LOCAL = {"host": "127.0.0.1", "public_url": ""}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({}, None),
        ({"secret_key": ""}, "REACH_SECRET_KEY"),
        ({"secret_key": "x" * 31}, "REACH_SECRET_KEY"),
        ({"smtp_url": ""}, "REACH_SMTP_URL"),
        ({"smtp_url": "smtp://u:p@mail.example.org"}, "REACH_SMTP_URL"),
        ({"smtp_url": "smtp+starttls://u:p@mail.example.org"}, None),
        ({"smtp_url": "smtp://mail.example.org"}, None),
        ({"smtp_url": "smtp://u:p@127.0.0.1"}, None),
        ({"mail_from": None}, "REACH_MAIL_FROM"),
        ({"public_url": ""}, "REACH_PUBLIC_URL"),
        ({"host": "::", "public_url": ""}, "REACH_PUBLIC_URL"),
        ({"host": "192.0.2.1", "public_url": ""}, "REACH_PUBLIC_URL"),
        ({"public_url": "http://localhost:8080"}, None),
        (LOCAL, None),
        (LOCAL | {"secret_key": ""}, None),
        (LOCAL | {"smtp_url": ""}, None),
        (LOCAL | {"smtp_url": "smtp://u:p@mail.example.org"}, None),
        (LOCAL | {"mail_from": None}, "REACH_MAIL_FROM"),
        ({"host": "127.0.0.1", "public_url": "https://x.org", "smtp_url": ""}, "REACH_SMTP_URL"),
        (
            {"host": "127.0.0.1", "public_url": "https://x.org", "secret_key": ""},
            "REACH_SECRET_KEY",
        ),
        ({"host": "127.0.0.1", "public_url": "http://localhost:8000", "secret_key": ""}, None),
    ],
)
def test_exposure(changes: dict[str, str | None], named: str | None) -> None:
    """What is fine on a laptop is refused where others can reach it, by host or by public URL."""
    settings = load({**SAFE, **changes})
    if named is None:
        settings.require_safe_exposure()
        return
    with pytest.raises(BadSettings) as refusal:
        settings.require_safe_exposure()
    assert str(refusal.value).startswith(named)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"smtp_url": ""}, []),
        ({"smtp_url": "", "mail_from": None}, []),
        ({"smtp_url": "", "secret_key": ""}, ["REACH_SECRET_KEY"]),
        ({"smtp_url": "smtp://u:p@mail.example.org"}, ["REACH_SMTP_URL"]),
        ({"mail_from": None}, ["REACH_MAIL_FROM"]),
        (
            {"smtp_url": "smtp://u:p@m.org", "secret_key": "", "mail_from": None},
            ["REACH_SECRET_KEY", "REACH_SMTP_URL", "REACH_MAIL_FROM"],
        ),
    ],
)
def test_exposure_of_what_has_no_mailbox(changes: dict[str, str | None], named: list[str]) -> None:
    """Without one there is none to refuse; all else is refused as ever, and all at once."""
    settings = load({**SAFE, **changes})
    lines = []
    try:
        settings.require_safe_exposure(has_mailbox=False)
    except BadSettings as refusal:
        lines = str(refusal).splitlines()
    assert [line.partition(" ")[0] for line in lines] == named


@pytest.mark.parametrize(
    ("changes", "is_refused"),
    [
        ({}, True),
        ({"smtp_url": "smtp://127.0.0.1"}, False),
        ({"smtp_url": "smtp://localhost", "database_url": "postgresql://127.0.0.1/n"}, False),
        ({"smtp_url": "smtp://localhost", "database_url": "postgresql:///n?host=/run/pg"}, False),
        ({"smtp_url": "smtp://localhost", "database_url": "postgresql://db/n"}, True),
        ({"smtp_url": "smtp://localhost", "database_url": "postgresql://[::1],db/n"}, True),
        ({"public_url": "https://signup.example.org"}, False),
        ({"public_url": "http://localhost:8000"}, False),
    ],
)
def test_a_worker_mails_no_links_to_nowhere(changes: dict[str, str], is_refused: bool) -> None:
    """It listens nowhere; whom it talks to tells that others than this machine's are mailed."""
    settings = load({**SAFE, **LOCAL, **changes})
    if not is_refused:
        settings.require_safe_exposure(has_mailbox=False, binds=False)
        return
    with pytest.raises(BadSettings, match=r"^REACH_PUBLIC_URL must be set.*emails[^\n]*$"):
        settings.require_safe_exposure(has_mailbox=False, binds=False)
    settings.require_safe_exposure(has_mailbox=False)  # an API on loopback serves this machine


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"DATABASE_PASSWORD": CANARY}, "need a REACH_DATABASE_URL of Postgres"),
        ({"DATABASE_USER": CANARY, "DATABASE_URL": "sqlite:///x"}, "of Postgres"),
        (
            {"DATABASE_PASSWORD": CANARY, "DATABASE_URL": f"postgresql://u:{CANARY}@h/n"},
            "REACH_DATABASE_URL and REACH_DATABASE_PASSWORD both hold a password: keep one",
        ),
        (
            {"DATABASE_USER": CANARY, "DATABASE_URL": f"postgresql:///n?user={CANARY}"},
            "REACH_DATABASE_URL and REACH_DATABASE_USER both hold a user: keep one",
        ),
        (
            {"SMTP_PASSWORD": CANARY, "SMTP_URL": f"smtp://u:{CANARY}@h"},
            "REACH_SMTP_URL and REACH_SMTP_PASSWORD both hold a password: keep one",
        ),
        (
            {"REDIS_PASSWORD": CANARY, "REDIS_URL": f"redis://:{CANARY}@h"},
            "REACH_REDIS_URL and REACH_REDIS_PASSWORD both hold a password: keep one",
        ),
        ({"SMTP_PASSWORD": CANARY, "SMTP_URL": "smtp://h"}, "REACH_SMTP_USER"),
        ({"SMTP_USER": CANARY, "SMTP_URL": "smtp://h"}, "REACH_SMTP_PASSWORD"),
    ],
)
def test_a_login_is_said_once_and_whole(
    given: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line that names both places, and holds neither."""
    environment(monkeypatch, given)
    with pytest.raises(BadSettings) as refusal:
        load()
    assert words in str(refusal.value)
    assert CANARY not in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_login_may_be_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user in the URL and the password beside it; or both beside it."""
    environment(monkeypatch, {"SMTP_URL": "smtps://ada@h", "SMTP_PASSWORD": "a/b@c%41"})
    environment(monkeypatch, {"DATABASE_URL": "postgresql://h/n", "DATABASE_USER": "x@y"})
    environment(monkeypatch, {"DATABASE_PASSWORD": "%2F", "REDIS_URL": "rediss://h"})
    environment(monkeypatch, {"REDIS_PASSWORD": "p", "REDIS_USER": "default"})
    settings = load()
    smtp, redis = settings.smtp, settings.redis
    assert smtp
    assert (smtp.username, smtp.password) == ("ada", "a/b@c%41")
    assert redis
    assert (redis.username, redis.password) == ("default", "p")
    assert (settings.database.url.username, settings.database.url.password) == ("x@y", "%2F")
    assert str(settings.database) == "postgresql://********@h/n"


def test_unknown_variables_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt name; what only a secret may have; and none that Reach reads, or its client."""
    monkeypatch.setattr("os.environ", {})
    environment(
        monkeypatch,
        dict.fromkeys(("PROT", "PORT", "MAIL_FROM_FILE", "SECRET_KEY_FILE", "SMTP_CA_FILE"), "x"),
    )
    environment(monkeypatch, dict.fromkeys(("API_URL", "API_KEY", "URL"), "x"))
    assert unknown_variables() == ["REACH_MAIL_FROM_FILE", "REACH_PROT", "REACH_URL"]


def test_settings_do_not_show_secrets() -> None:
    """Not even to who prints them."""
    settings = load({"secret_key": CANARY, "smtp_url": f"smtp://u:{CANARY}@h", "port": 1})
    assert CANARY not in repr(settings) + str(settings)
