"""What the knobs come to, together."""

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import model_validator

from reach.domains import Domains
from reach.limits.policy import Policy
from reach.settings.knobs import Knobs
from reach.urls import DatabaseUrl, Network, RedisUrl, SmtpUrl, is_loopback, parse_networks
from reach.values import parse_name_servers, parse_origins, parts_of
from reach.variables import BadSettings

SECRET_KEY_MIN_CHARACTERS = 32


class Settings(Knobs):
    """How this process is to behave."""

    @model_validator(mode="after")
    def _grace_fits(self) -> "Settings":
        for name in ("retry", "pause"):
            if getattr(self, f"{name}_first_seconds") > getattr(self, f"{name}_cap_seconds"):
                raise ValueError(f"REACH_{name.upper()}_FIRST_SECONDS is above its cap")
        return self

    @model_validator(mode="after")
    def _budget_can_be_counted(self) -> "Settings":
        windows = self.policy("mail_per_address").windows
        if windows and windows[-1].seconds > self.keep_messages_days * 86_400:
            raise ValueError(
                "REACH_LIMIT_MAIL_PER_ADDRESS has a window longer than REACH_KEEP_MESSAGES_DAYS: "
                "what was swept cannot be counted"
            )
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
    def redis(self) -> RedisUrl | None:
        """Where API processes count together; None means each for itself."""
        text = self.redis_url.get_secret_value()
        return RedisUrl.parse(text) if text else None

    @property
    def secret_keys(self) -> list[str]:
        """The keys that sign (the first) and that are accepted (all)."""
        return parts_of(self.secret_key.get_secret_value())

    @property
    def has_long_secret_keys(self) -> bool:
        """Whether there is a key, and none that could be guessed."""
        lengths = [len(key) for key in self.secret_keys]
        return min(lengths, default=0) >= SECRET_KEY_MIN_CHARACTERS

    @property
    def proxies(self) -> tuple[Network, ...]:
        """The networks of trusted proxies."""
        return parse_networks(self.trusted_proxies)

    @property
    def origins(self) -> list[str]:
        """The web sites whose scripts may call."""
        return parse_origins(self.cors_origins)

    @property
    def intranet(self) -> Domains:
        """The domains where people may have addresses, though no public mail gets there."""
        return Domains.parse(self.allow_domains)

    @property
    def sign_up_domains(self) -> Domains:
        """The domains whose people may sign up; none means all."""
        return Domains.parse(self.only_domains)

    @property
    def name_servers(self) -> list[tuple[str, int]]:
        """Whom to ask about a domain: addresses and ports; none means the system's."""
        return parse_name_servers(self.dns_servers)

    def policy(self, name: str) -> Policy:
        """The policy that ``REACH_LIMIT_<name>`` is."""
        return Policy.parse(name.replace("_", "-"), getattr(self, f"limit_{name}"))

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
            if not self.has_long_secret_keys:
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
