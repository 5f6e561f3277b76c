"""The settings of a process: what its fields come to, together."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import model_validator

from reach.network.hosts import Domains, is_loopback
from reach.settings.brand import Brand, Logo
from reach.settings.database_url import DatabaseUrl
from reach.settings.exposure import dangers
from reach.settings.inbound import UNENCRYPTED, Bind, ImapUrl
from reach.settings.oidc import faults
from reach.settings.rates import DomainRates
from reach.settings.report_fields import ReportFields
from reach.settings.smtp import completed, parse_smtp_urls
from reach.settings.smtp import faults as smtp_faults
from reach.settings.types import (
    PREFIX,
    SERVERS,
    UNITS,
    BadSettings,
    Policy,
    parse_addresses,
    parse_languages,
    parse_name_servers,
    parse_origins,
    parse_stoppable,
    parse_web_addresses,
    parts_of,
)
from reach.settings.urls import (
    Login,
    Network,
    RedisUrl,
    SmtpUrl,
    parse_mailbox,
    parse_networks,
)
from reach.settings.webhooks import Allowed

SECRET_KEY_MIN_CHARACTERS = 32
LIMIT = "limit_"


class Settings(ReportFields):
    """How this process is to behave.

    What a field says is a text, as it was set; what is read out of it is read once.
    """

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy it, with other values for some fields: what is read out of them is read again."""
        copied = super().model_copy(update=update, deep=deep)
        for name in READ_ONCE:
            copied.__dict__.pop(name, None)
        return copied

    def __getstate__(self) -> dict[Any, Any]:
        """What another process is given: the fields, of which it reads the rest."""
        state = super().__getstate__()
        fields = {k: v for k, v in state["__dict__"].items() if k not in READ_ONCE}
        return {**state, "__dict__": fields}

    @model_validator(mode="after")
    def _first_waits_fit(self) -> "Settings":
        for name in ("retry", "breaker"):
            if getattr(self, f"{name}_first_seconds") > getattr(self, f"{name}_cap_seconds"):
                raise ValueError(f"REACH_{name.upper()}_FIRST_SECONDS is above its cap")
        return self

    @model_validator(mode="after")
    def _budget_can_be_counted(self) -> "Settings":
        windows = self.policies["mail_per_address"].windows
        if windows and windows[-1].seconds > self.keep_messages_days * 86_400:
            raise ValueError(
                "REACH_LIMIT_MAIL_PER_ADDRESS has a window longer than REACH_KEEP_MESSAGES_DAYS: "
                "what was swept cannot be counted"
            )
        return self

    @model_validator(mode="after")
    def _direct_is_of_postgres(self) -> "Settings":
        if self.database.is_sqlite and self.database_direct_url.get_secret_value():
            raise ValueError("REACH_DATABASE_DIRECT_URL needs a REACH_DATABASE_URL of Postgres")
        _ = self.direct_database
        return self

    @model_validator(mode="after")
    def _logins_are_said_once(self) -> "Settings":
        database = self.database
        _ = self.redis
        if database.is_sqlite and self._login("database"):
            raise ValueError(
                "REACH_DATABASE_USER and REACH_DATABASE_PASSWORD need a REACH_DATABASE_URL of "
                "Postgres: SQLite asks nobody who they are"
            )
        if found := smtp_faults(self, self.smtp_servers, self._login("smtp")):
            raise ValueError("\n".join(found))
        if self.bounce_mailbox:
            self.bounce_mailbox.require_login()
        return self

    def _login(self, server: str) -> Login:
        """Read the variables of its own that a server's login has."""
        user, password = (
            getattr(self, f"{server}_{part}").get_secret_value() for part in ("user", "password")
        )
        return Login(user or None, password or None)

    def _whole(self, field: str, of_url: Login) -> Login:
        """Add to the login in the URL that ``field`` is what variables of its own say.

        Raises ValueError if both say it.
        """
        server = next(server for server in SERVERS if field.startswith(server))
        own = self._login(server)
        for part in ("user", "password"):
            if getattr(own, part) is not None and getattr(of_url, part) is not None:
                one, other = (PREFIX + name.upper() for name in (field, f"{server}_{part}"))
                raise ValueError(f"{one} and {other} both hold a {part}: keep one")
        return Login(own.user or of_url.user, own.password or of_url.password)

    @model_validator(mode="after")
    def _logo_can_be_shown(self) -> "Settings":
        try:
            _ = self.brand
        except ValueError as error:
            raise ValueError(f"REACH_BRAND_LOGO {error}") from None
        return self

    @model_validator(mode="after")
    def _somebody_can_sign_up(self) -> "Settings":
        lonely = self.sign_up_domains.without(self.intranet)
        if lonely:
            raise ValueError(
                f"REACH_ONLY_DOMAINS names {', '.join(lonely)}, where nobody can have an address "
                "unless REACH_ALLOW_DOMAINS names it too"
            )
        return self

    @model_validator(mode="after")
    def _operators_can_sign_in(self) -> "Settings":
        if found := faults(self):
            raise ValueError("\n".join(found))
        return self

    @cached_property
    def database(self) -> DatabaseUrl:
        """Where the database is."""
        text = self.database_url.get_secret_value()
        if not text:
            return DatabaseUrl.parse(f"sqlite:///{self.data_dir / 'reach.sqlite3'}")
        url = DatabaseUrl.parse(text)
        return url if url.is_sqlite else url.with_login(self._whole("database_url", url.login))

    @cached_property
    def direct_database(self) -> DatabaseUrl:
        """The database without a pooler before it, as far as we know."""
        text = self.database_direct_url.get_secret_value()
        if not text:
            return self.database
        url = DatabaseUrl.parse(text)
        return url.with_login(self._whole("database_direct_url", url.login))

    @cached_property
    def has_database_in_data_dir(self) -> bool:
        """Whether the database is a file in the data directory, by default or by its URL."""
        file = Path(self.database.url.database or "")
        return self.database.is_sqlite and file.absolute().parent == self.data_dir.absolute()

    @property
    def smtp(self) -> SmtpUrl | None:
        """Where mail goes first; None means the embedded mailbox."""
        return next(iter(self.smtp_servers), None)

    @cached_property
    def smtp_servers(self) -> tuple[SmtpUrl, ...]:
        """Where mail goes, in order of preference; none means the embedded mailbox."""
        servers = parse_smtp_urls(self.smtp_urls.get_secret_value())
        if text := self.smtp_url.get_secret_value():
            url = SmtpUrl.parse(text)
            servers = (url.with_login(self._whole("smtp_url", url.login)),)
        return completed(self, servers)

    @cached_property
    def envelope_from(self) -> str:
        """The sender of envelopes: who is told of what comes back. A return path wins."""
        return self.return_path or self.envelope_sender or parse_mailbox(self.mail_from).addr_spec

    @cached_property
    def receiving_rates(self) -> DomainRates:
        """How much receiving domains are sent."""
        return DomainRates.parse(self.domain_rates)

    @cached_property
    def bind(self) -> Bind | None:
        """Where `reach inbound` listens; None means nowhere."""
        return Bind.parse(self.inbound_bind) if self.inbound_bind else None

    @cached_property
    def bounce_mailbox(self) -> ImapUrl | None:
        """The mailbox that `reach inbound` reads; None means none."""
        if not (text := self.bounce_mailbox_url.get_secret_value()):
            return None
        url = ImapUrl.parse(text)
        return url.with_login(self._whole("bounce_mailbox_url", url.login))

    @cached_property
    def mail_domain(self) -> str:
        """The domain that mail comes from: the one for Message-IDs."""
        return parse_mailbox(self.mail_from).domain

    @cached_property
    def redis(self) -> RedisUrl | None:
        """Where API processes count together; None means each for itself."""
        if not (text := self.redis_url.get_secret_value()):
            return None
        url = RedisUrl.parse(text)
        return url.with_login(self._whole("redis_url", url.login))

    @cached_property
    def secret_keys(self) -> list[str]:
        """The keys that sign (the first) and that are accepted (all)."""
        return parts_of(self.secret_key.get_secret_value())

    @property
    def has_long_secret_keys(self) -> bool:
        """Whether there is a key, and none that could be guessed."""
        lengths = [len(key) for key in self.secret_keys]
        return min(lengths, default=0) >= SECRET_KEY_MIN_CHARACTERS

    @cached_property
    def proxies(self) -> tuple[Network, ...]:
        """The networks of trusted proxies."""
        return parse_networks(self.trusted_proxies)

    @cached_property
    def origins(self) -> list[str]:
        """The web sites whose scripts may call."""
        return parse_origins(self.cors_origins)

    @cached_property
    def embedders(self) -> list[str]:
        """The web sites whose pages may frame the sign-up form."""
        return parse_origins(self.embed_origins)

    @cached_property
    def returns(self) -> list[str]:
        """Where a form may have people led back to."""
        return parse_web_addresses(self.return_urls)

    @cached_property
    def language_codes(self) -> list[str]:
        """The languages of pages and emails, the default first."""
        return parse_languages(self.languages)

    @cached_property
    def brand(self) -> Brand:
        """What pages and emails show of whom they speak for. Raises ValueError for a bad logo."""
        return Brand(
            self.brand_name,
            self.brand_color,
            Logo.parse(self.brand_logo, self.origin) if self.brand_logo else None,
            intro=self.brand_intro,
            home_url=self.home_url,
            privacy_url=self.privacy_url,
            postal_address=self.postal_address,
        )

    @cached_property
    def intranet(self) -> Domains:
        """The domains where people may have addresses, though no public mail gets there."""
        return Domains.parse(self.allow_domains)

    @cached_property
    def webhook_targets(self) -> Allowed:
        """Where inside the network webhooks may lead."""
        return Allowed.parse(self.webhook_allow)

    @cached_property
    def sign_up_domains(self) -> Domains:
        """The domains whose people may sign up; none means all."""
        return Domains.parse(self.only_domains)

    @cached_property
    def notify_addresses(self) -> list[str]:
        """Who hears of sign-ups."""
        return parse_addresses(self.notify)

    @cached_property
    def stoppable(self) -> list[str]:
        """The templates whose emails people may unsubscribe from."""
        return parse_stoppable(self.unsubscribe_templates)

    @property
    def link_seconds(self) -> float:
        """How long the links in an email work."""
        return self.link_days * UNITS["day"]

    @property
    def notify_seconds(self) -> int:
        """How long what comes is gathered into one notice: not at all, an hour or a day."""
        return 0 if self.notify_every == "sign-up" else UNITS[self.notify_every]

    @cached_property
    def name_servers(self) -> list[tuple[str, int]]:
        """Whom to ask about a domain: addresses and ports; none means the system's."""
        return parse_name_servers(self.dns_servers)

    @cached_property
    def policies(self) -> Mapping[str, Policy]:
        """What each ``REACH_LIMIT_<NAME>`` is, by its name."""
        return {
            field.removeprefix(LIMIT): Policy.parse(
                field.removeprefix(LIMIT).replace("_", "-"), getattr(self, field)
            )
            for field in ReportFields.model_fields
            if field.startswith(LIMIT)
        }

    @cached_property
    def origin(self) -> str:
        """Scheme, host and port that the outside world uses: ``https://signup.example.org``."""
        if self.public_url:
            return self.public_url
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @cached_property
    def is_https(self) -> bool:
        """Whether people come by https."""
        return urlsplit(self.origin).scheme == "https"

    @cached_property
    def is_exposed(self) -> bool:
        """Whether anyone but this machine's own users can reach Reach."""
        public_host = urlsplit(self.origin).hostname or ""
        return not (is_loopback(self.host) and is_loopback(public_host))

    @property
    def needs_public_url(self) -> bool:
        """Whether links to this machine's loopback would lead others to nowhere, if it is bound."""
        return not self.public_url and not is_loopback(self.host)

    @property
    def is_spread(self) -> bool:
        """Whether the mail server or the database is, or may be, on another machine."""
        return not self.database.is_local or not all(one.is_local for one in self.smtp_servers)

    def require_safe_exposure(self, *, has_mailbox: bool = True, binds: bool = True) -> None:
        """Refuse what is fine on a laptop and dangerous in the open. Raises BadSettings.

        ``has_mailbox`` says whether mail goes to the embedded mailbox unless there is a server:
        that of ``reach up`` alone does. ``binds`` is false for a worker: it listens nowhere, so
        whom it talks to has to tell whether it serves more than this machine.
        """
        wrong = []
        if self.needs_public_url or (not binds and not self.public_url and self.is_spread):
            wrong.append(
                "REACH_PUBLIC_URL must be set, such as https://signup.example.org: "
                "links in emails are made of it"
            )
        if self.is_exposed:
            wrong += dangers(self, has_mailbox=has_mailbox)
        if self.bounce_mailbox and self.bounce_mailbox.tells_its_password:
            wrong.append(UNENCRYPTED)
        is_remote = not all(one.is_local for one in self.smtp_servers)
        if is_remote and "mail_from" not in self.model_fields_set:
            wrong.append("REACH_MAIL_FROM must be set beside REACH_SMTP_URL")
        if wrong:
            raise BadSettings("\n".join(wrong))


#: What is read out of fields, and kept.
READ_ONCE = [name for name, value in vars(Settings).items() if isinstance(value, cached_property)]
