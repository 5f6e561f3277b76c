"""Every knob, read once from the environment and passed down.

Each field is the variable ``REACH_<FIELD>``; secrets may also come from a file named by
``REACH_<FIELD>_FILE``. Units are in the names.
"""

import os
from collections.abc import Mapping
from email.headerregistry import Address
from email.utils import parseaddr
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from reach.urls import DatabaseUrl, SmtpUrl, is_loopback

PREFIX = "REACH_"
SECRETS = ("database_url", "smtp_url", "secret_key")
SECRET_KEY_MIN_CHARACTERS = 32

Seconds = Annotated[float, Field(gt=0, le=10**9, allow_inf_nan=False)]
Port = Annotated[int, Field(ge=0, le=65535)]


class BadSettings(Exception):  # noqa: N818 - an expected failure, as Problem is
    """The configuration cannot be used; ``args[0]`` names each variable and its remedy."""


class Settings(BaseSettings):
    """How this process is to behave."""

    # An empty variable is one that is not set: compose files and charts cannot leave it out.
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="ignore"
    )

    # Where things are
    #: Where the SQLite file, the mailbox and the generated keys live. Made if missing, 0700.
    data_dir: Path = Path("reach-data")
    #: Empty means a SQLite file in the data directory.
    database_url: SecretStr = SecretStr("")
    #: Empty means the embedded mailbox, which only ``reach up`` has.
    smtp_url: SecretStr = SecretStr("")
    #: Verifies the mail server instead of the system's certificate authorities.
    smtp_ca_file: Path | None = None
    #: What links and pages call this service. Empty means http://<host>:<port>.
    public_url: str = ""
    #: Signs what Reach hands out. Required when Reach can be reached from outside.
    secret_key: SecretStr = SecretStr("")
    host: str = "127.0.0.1"
    port: Port = 8000
    #: API processes. Each has its own event loop.
    processes: Annotated[int, Field(ge=1, le=256)] = 1

    # What people see
    brand_name: Annotated[str, Field(min_length=1, max_length=60)] = "Reach"
    #: ``hello@example.org`` or ``Name <hello@example.org>``.
    mail_from: str = "Reach <reach@localhost>"
    reply_to: str = ""
    #: Templates here take the place of the built-in ones of the same name.
    templates_dir: Path | None = None
    #: ``on`` admits addresses with non-ASCII local parts; the mail server must offer SMTPUTF8.
    smtputf8: bool = False
    #: A known address that signs up again is told so at most once in this long.
    already_hours: Annotated[float, Field(gt=0, le=24 * 365)] = 24

    # Delivery
    #: Messages that one worker process sends at the same time.
    worker_slots: Annotated[int, Field(ge=1, le=1000)] = 8
    #: How long a worker holds a message between renewals; a dead one's fall due after it.
    lease_seconds: Seconds = 60
    #: How long a stopping process finishes what it has in hand. Keep it below the pod's
    #: termination grace period.
    grace_seconds: Seconds = 20
    #: Settled messages are swept after this; each person's welcome is kept.
    keep_messages_days: Annotated[float, Field(gt=0)] = 90
    #: First wait after a failed attempt; it doubles up to the cap (RFC 5321 §4.5.4.1).
    retry_first_seconds: Seconds = 30
    retry_cap_seconds: Seconds = 4 * 3600
    #: A message is given up this long after its own first failure.
    give_up_seconds: Seconds = 4 * 24 * 3600
    #: First wait before a paused lane probes the mail server; it doubles up to the cap.
    pause_first_seconds: Seconds = 1
    pause_cap_seconds: Seconds = 60
    #: Time-outs of RFC 5321 §4.5.3.2. Greeting covers connect, TLS, EHLO and AUTH, each.
    smtp_greeting_seconds: Seconds = 300
    smtp_mail_seconds: Seconds = 300
    smtp_rcpt_seconds: Seconds = 300
    smtp_data_seconds: Seconds = 120
    smtp_final_seconds: Seconds = 600
    #: An idle connection to the mail server is closed after this long.
    smtp_idle_seconds: Seconds = 30

    # The database
    #: A request that the database does not answer in this long gets 503.
    database_seconds: Annotated[float, Field(gt=0, le=60)] = 4
    #: Postgres connections of one process.
    database_connections: Annotated[int, Field(ge=2, le=1000)] = 10

    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base class names it
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - likewise
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags beat environment; ``*_FILE`` never meets its variable (see SecretFiles)."""
        return init_settings, env_settings, SecretFiles(settings_cls)

    @field_validator("database_url")
    @classmethod
    def _database_url_parses(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value():
            DatabaseUrl.parse(value.get_secret_value())
        return value

    @field_validator("smtp_url")
    @classmethod
    def _smtp_url_parses(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value():
            SmtpUrl.parse(value.get_secret_value())
        return value

    @field_validator("mail_from", "reply_to")
    @classmethod
    def _is_mailbox(cls, value: str, info: ValidationInfo) -> str:
        if value or info.field_name == "mail_from":
            parse_mailbox(value)
        return value

    @field_validator("public_url")
    @classmethod
    def _is_http_url(cls, value: str) -> str:
        if not value:
            return value
        try:
            parts = urlsplit(value)
            is_whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            raise ValueError("must be like https://signup.example.org") from None
        if not is_whole or not value.isprintable() or " " in value:
            raise ValueError("must be like https://signup.example.org")
        if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
            raise ValueError("must hold a scheme, a host and a port at most")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _grace_fits(self) -> "Settings":
        for name in ("retry", "pause"):
            if getattr(self, f"{name}_first_seconds") > getattr(self, f"{name}_cap_seconds"):
                raise ValueError(f"REACH_{name.upper()}_FIRST_SECONDS is above its cap")
        return self

    @property
    def database(self) -> DatabaseUrl:
        """Where the database is."""
        text = self.database_url.get_secret_value()
        return DatabaseUrl.parse(text or f"sqlite:///{self.data_dir / 'reach.sqlite3'}")

    @property
    def has_database_in_data_dir(self) -> bool:
        """Whether the database is a file in the data directory, by default or by its URL."""
        file = Path(self.database.url.database or "")
        return self.database.is_sqlite and file.absolute().parent == self.data_dir.absolute()

    @property
    def smtp(self) -> SmtpUrl | None:
        """Where mail goes; None means the embedded mailbox."""
        text = self.smtp_url.get_secret_value()
        return SmtpUrl.parse(text) if text else None

    @property
    def origin(self) -> str:
        """Scheme, host and port that the outside world uses: ``https://signup.example.org``."""
        if self.public_url:
            return self.public_url
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def is_exposed(self) -> bool:
        """Whether anyone but this machine's own users can reach Reach."""
        public_host = urlsplit(self.origin).hostname or ""
        return not (is_loopback(self.host) and is_loopback(public_host))

    def require_safe_exposure(self, *, has_mailbox: bool = True) -> None:
        """Refuse what is fine on a laptop and dangerous in the open. Raises BadSettings.

        ``has_mailbox`` says whether mail goes to the embedded mailbox unless there is a server:
        that of ``reach up`` alone does.
        """
        wrong = []
        smtp = self.smtp
        if self.is_exposed:
            if len(self.secret_key.get_secret_value()) < SECRET_KEY_MIN_CHARACTERS:
                wrong.append(
                    "REACH_SECRET_KEY must be set, with 32 characters or more: "
                    "try `openssl rand -hex 32`"
                )
            if smtp is None and has_mailbox:
                wrong.append(
                    "REACH_SMTP_URL must be set: the embedded mailbox is only for loopback"
                )
            if smtp and smtp.username and smtp.security == "plain" and not smtp.is_local:
                wrong.append(
                    "REACH_SMTP_URL would send its password unencrypted: "
                    "use smtp+starttls:// or smtps://"
                )
        if smtp and not smtp.is_local and "mail_from" not in self.model_fields_set:
            wrong.append("REACH_MAIL_FROM must be set beside REACH_SMTP_URL")
        if wrong:
            raise BadSettings("\n".join(wrong))


class SecretFiles(PydanticBaseSettingsSource):
    """``REACH_X_FILE``: the value of a secret X is the file's text, less its last line end."""

    def get_field_value(self, field: object, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """Read one field's file. Raises BadSettings if it cannot be read or X is set too."""
        variable = f"{PREFIX}{field_name.upper()}"
        path = os.environ.get(f"{variable}_FILE")
        if field_name not in SECRETS or not path:
            return None, field_name, False
        if os.environ.get(variable):
            raise BadSettings(f"{variable} and {variable}_FILE are both set: keep one")
        try:
            return Path(path).read_text(encoding="utf-8").rstrip("\r\n"), field_name, False
        except (OSError, UnicodeDecodeError) as error:
            raise BadSettings(f"{variable}_FILE cannot be read: {error}") from None

    def __call__(self) -> dict[str, Any]:
        """All fields that have a file."""
        found = {name: self.get_field_value(None, name)[0] for name in SECRETS}
        return {name: value for name, value in found.items() if value is not None}


@lru_cache(maxsize=8)
def parse_mailbox(text: str) -> Address:
    """Read ``hello@example.org`` or ``Name <hello@example.org>``. Raises ValueError."""
    name, address = parseaddr(text)
    if not text.isprintable() or "@" not in address.strip("@") or not address.isascii():
        raise ValueError("must be like hello@example.org or Name <hello@example.org>")
    return Address(display_name=name, addr_spec=address)


def load(flags: Mapping[str, object] | None = None) -> Settings:
    """Read the settings; ``flags`` (those that are not None) beat the environment.

    Raises BadSettings with a line for each variable that is wrong; no value is repeated.
    """
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as error:
        lines = []
        for fault in error.errors(include_input=False, include_url=False, include_context=False):
            where = f"{PREFIX}{str(fault['loc'][0]).upper()}: " if fault["loc"] else ""
            lines.append(where + fault["msg"].removeprefix("Value error, "))
        raise BadSettings("\n".join(lines)) from None


def unknown_variables() -> list[str]:
    """``REACH_*`` variables that no setting reads: a misspelling, most likely."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    known |= {f"{PREFIX}{name.upper()}_FILE" for name in SECRETS}
    return sorted(v for v in os.environ if v.startswith(PREFIX) and v not in known)
