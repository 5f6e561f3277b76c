"""The fields: what `reach.settings.Settings` reads from the environment.

Each field is the variable ``REACH_<FIELD>``; secrets may also come from a file named by
``REACH_<FIELD>_FILE``. Units are in the names.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from reach.settings.types import (
    PREFIX,
    Address,
    Addresses,
    Color,
    DatabasePlace,
    Domain,
    DomainNames,
    Grants,
    Headers,
    Issuer,
    LanguageCodes,
    Limit,
    Mailbox,
    NameServers,
    Networks,
    OidcScopes,
    Origins,
    Port,
    PostgresPlace,
    PublicUrl,
    Rates,
    RedisPlace,
    ReturnPath,
    Seconds,
    SecretFiles,
    SmtpPlace,
    SmtpPlaces,
    TemplateNames,
    TokenUrl,
    WebAddress,
    WebAddresses,
    WebhookAllow,
)


class Fields(BaseSettings):
    """The variables of Reach, their defaults, and what each of them may be."""

    # An empty variable is one that is not set: compose files and charts cannot leave it out.
    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,  # a URL may hold a password
    )

    # Where things are
    #: Where the SQLite file, the mailbox and the generated keys live. Made if missing, 0700.
    data_dir: Path = Path("reach-data")
    #: ``postgresql://…`` or ``sqlite:///…``. Empty means a SQLite file in the data directory.
    database_url: DatabasePlace = SecretStr("")
    #: Who logs in at the database, if its URL does not say. Here nothing is encoded.
    database_user: SecretStr = SecretStr("")
    #: With what password, if the URL holds none. Here nothing is encoded.
    database_password: SecretStr = SecretStr("")
    #: Where Postgres itself is, if ``REACH_DATABASE_URL`` leads through a pooler (PgBouncer):
    #: workers are told there of new messages at once, and ``reach migrate`` goes there. Or empty.
    database_direct_url: PostgresPlace = SecretStr("")
    #: ``smtp://``, ``smtps://`` or ``smtp+starttls://…``. Empty means the embedded mailbox, which
    #: only ``reach up`` has.
    smtp_url: SmtpPlace = SecretStr("")
    #: Instead of ``REACH_SMTP_URL``: several servers in order of preference, with commas or blanks
    #: between. The next one sends while the one before it cannot. ``?rate=10/s`` (or ``100/min``)
    #: behind a server's host is how much one worker process gives it.
    smtp_urls: SmtpPlaces = SecretStr("")
    #: Who logs in at the mail server, if its URL does not say. Here nothing is encoded.
    smtp_user: SecretStr = SecretStr("")
    #: With what password, if the URL holds none. Here nothing is encoded.
    smtp_password: SecretStr = SecretStr("")
    #: ``redis://…`` or ``rediss://…``: where API processes count together. Empty means that each
    #: counts for itself, in memory.
    redis_url: RedisPlace = SecretStr("")
    #: Who logs in at Redis, if its URL does not say. Here nothing is encoded.
    redis_user: SecretStr = SecretStr("")
    #: With what password, if the URL holds none. Here nothing is encoded.
    redis_password: SecretStr = SecretStr("")
    #: Verifies the mail server instead of the system's certificate authorities.
    smtp_ca_file: Path | None = None
    #: The certificate (PEM) by which mail servers know us, with those that it was signed by.
    smtp_cert_file: Path | None = None
    #: Its key (PEM, without a password), if that is not in the same file.
    smtp_key_file: Path | None = None
    #: The name that the mail server's certificate must be for. Empty means the host of its URL.
    smtp_verify_name: Domain = ""
    #: Where a token is had that logs in instead of a password (XOAUTH2), at servers whose URL has a
    #: user and no password. Needs the extra ``oauth``.
    smtp_oauth_token_url: TokenUrl = ""
    #: What they who hand out tokens call Reach.
    smtp_oauth_client_id: Annotated[str, Field(max_length=500)] = ""
    #: What Reach proves there that it is Reach with.
    smtp_oauth_client_secret: SecretStr = SecretStr("")
    #: By which tokens are had for a mailbox whose owner has agreed (Google). Empty means that Reach
    #: has a permission of its own ("client credentials", Microsoft).
    smtp_oauth_refresh_token: SecretStr = SecretStr("")
    #: What a token is to be good for: ``https://outlook.office365.com/.default`` of Microsoft.
    smtp_oauth_scope: Annotated[str, Field(max_length=500)] = ""
    #: Where mail servers report what they could not deliver: ``bounces@mail.example.org``. Each
    #: email gets a return path of its own there (``bounces+…@``), whose mail is to be given to
    #: ``reach inbound``. Empty means the sender's address.
    return_path: ReturnPath = ""
    #: What links in emails, and pages, call this service: ``https://signup.example.org``. Empty
    #: means ``http://<host>:<port>``, which is refused unless all is on this machine.
    public_url: PublicUrl = ""
    #: Signs what Reach hands out. Required when Reach can be reached from outside; otherwise one
    #: is made in the data directory. Several, with commas or blanks between them: the first
    #: signs, all are accepted.
    secret_key: SecretStr = SecretStr("")
    #: Where to listen: an address of this machine.
    host: str = "127.0.0.1"
    #: On which port; 0 takes any that is free.
    port: Port = 8000
    #: How long a caller may take to send a request's line and headers, or to take 64 KiB of an
    #: answer.
    head_seconds: Annotated[float, Field(gt=0, le=3600)] = 30
    #: How long a connection is kept for the caller's next request. Some load balancers keep theirs
    #: for 600 s: say more than yours does, or it may send on one that is about to be closed.
    keep_alive_seconds: Annotated[float, Field(gt=0, le=3600)] = 75
    #: Connections of one API process, if there are descriptors (``ulimit -n``) for so many and 128
    #: more. When there are more, those that have waited longest for their callers are ended.
    max_connections: Annotated[int, Field(ge=16, le=1_000_000)] = 512
    #: API processes. Each has its own event loop.
    processes: Annotated[int, Field(ge=1, le=256)] = 1
    #: Addresses and networks (``10.0.0.0/8, ::1``) of the proxies before Reach: from them, and
    #: from nobody else, ``X-Forwarded-For`` is believed.
    trusted_proxies: Networks = ""
    #: Web sites (``https://example.org, https://www.example.org``) whose scripts may call /v1.
    cors_origins: Origins = ""

    # What people see
    #: What pages and emails call you.
    brand_name: Annotated[str, Field(min_length=1, max_length=60)] = "Reach"
    #: Your logo: a file (PNG, SVG, JPEG, WebP, GIF), which API and worker must have, or its URL at
    #: a site of your own. Emails show no SVG. Empty means your name in letters.
    brand_logo: str = ""
    #: The colour of buttons and links, such as ``#2457d6``. What could not be read in it, on light
    #: or dark pages, is made darker or lighter.
    brand_color: Color = "#2457d6"
    #: What the sign-up page says above the form. Empty means a sentence of ours.
    brand_intro: Annotated[str, Field(max_length=500)] = ""
    #: Your own site: pages and emails lead to it.
    home_url: WebAddress = ""
    #: What you do with people's data: pages and emails lead to it.
    privacy_url: WebAddress = ""
    #: Where you are, by post: some countries' law wants it at the end of each email.
    postal_address: Annotated[str, Field(max_length=300)] = ""
    #: The languages of pages and emails, the default first: ``en, de, fr, es``.
    languages: LanguageCodes = "en, de, fr, es"
    #: Catalogues here (``de/LC_MESSAGES/reach.po``) take the place of the built-in ones, text by
    #: text, or add a language.
    catalogues_dir: Path | None = None
    #: Page templates here take the place of the built-in ones of the same name.
    pages_dir: Path | None = None
    #: Where people may be led back to after a sign-up, by a form's ``next``: whole addresses, such
    #: as ``https://example.org/thanks``, to be named letter by letter. None else is led to.
    return_urls: WebAddresses = ""
    #: Where people are led after they confirmed. Empty means a page of ours that says so.
    confirmed_url: WebAddress = ""
    #: Web sites (``https://example.org``) whose pages may show the sign-up form in a frame
    #: (``/embed``). Empty means that browsers show it in none.
    embed_origins: Origins = ""
    #: Whom emails come from: ``hello@example.org`` or ``Name <hello@example.org>``.
    mail_from: Annotated[Mailbox, Field(min_length=1)] = "Reach <reach@localhost>"
    #: Where answers to emails go. Empty means to whom they come from.
    reply_to: Mailbox = ""
    #: Who is told of emails that come back: the sender of the envelope. Empty means the address of
    #: ``REACH_MAIL_FROM``.
    envelope_sender: Address = ""
    #: Headers of every email that a provider wants, with ; between: ``X-PM-Message-Stream:
    #: outbound; X-SES-CONFIGURATION-SET: reach``. None that Reach writes itself.
    mail_headers: Headers = ""
    #: Templates here take the place of the built-in ones of the same name.
    templates_dir: Path | None = None
    #: Templates of your own (``news, offers``) whose emails people may unsubscribe from: these have
    #: the headers for it, and may have the link. Set it the same for all of Reach. Reach's own
    #: templates cannot be named: people asked for these emails, or are owed them.
    unsubscribe_templates: TemplateNames = ""
    #: ``on`` admits addresses with non-ASCII local parts. The mail server must offer SMTPUTF8, and
    #: so must every server behind it: see docs/guides/dns.md.
    smtputf8: bool = False
    #: Anyone who has confirmed and signs up again is told so at most once in this many hours.
    already_hours: Annotated[float, Field(gt=0, le=24 * 365)] = 24

    #: Where people may have addresses, though no public mail gets there: intranet domains, such as
    #: ``.local, .home.arpa, corp.internal, mailhost``. Your mail server must know the way. A dot
    #: before a name means all that lies below it, and not the name itself.
    allow_domains: DomainNames = ""
    #: Who has an address elsewhere cannot sign up; operators may add them. Written like
    #: ``REACH_ALLOW_DOMAINS``: ``example.org, .example.org`` is the domain and all below it. Empty
    #: means everywhere.
    only_domains: DomainNames = ""
    #: Who hears of sign-ups by email: ``maker@example.org``, or a few addresses with commas between
    #: them. Empty means nobody. Set all three the same for all of Reach.
    notify: Addresses = ""
    #: ``sign-up``: at once, but one email a minute at most; what comes meanwhile is in the next.
    #: ``hour``, ``day``: all that has come, in one email.
    notify_every: Literal["sign-up", "hour", "day"] = "sign-up"
    #: ``on``: an email about one person says who it is. ``off``: emails hold no personal data.
    notify_details: bool = True

    #: Where inside your network webhooks may lead, and where they need no TLS: networks and hosts,
    #: like ``10.0.0.0/8, hooks.internal, .corp.example`` (all below it). Empty means that they lead
    #: to public addresses only, by https.
    webhook_allow: WebhookAllow = ""

    # Who may do what, and how often
    #: How long a link in an email works.
    link_days: Annotated[float, Field(gt=0, le=366)] = 7
    #: ``required``: who has not confirmed gets only welcome, already-signed-up and manage-link.
    confirm: Literal["optional", "required"] = "optional"
    #: How often one client may sign up or ask for a link. ``off`` lifts it.
    limit_signups: Limit = "10/minute;100/hour"
    #: How often one operator key, or the holder of one person's links, may call.
    limit_api: Limit = "600/minute"
    #: How many wrong keys one client may show; beyond it none of its keys is looked at.
    limit_failed_keys: Limit = "30/minute"
    #: How many wrong links of one client get a page that offers a new one; beyond it they get a
    #: short refusal. A link that works is never refused for it.
    limit_failed_links: Limit = "30/minute"
    #: How many emails strangers can have sent to one address.
    limit_mail_per_address: Limit = "5/hour;20/day"
    #: Who fills in the form faster than this is asked to send it again.
    form_min_seconds: Annotated[float, Field(ge=0, le=60)] = 1
    #: ``required``: who sends no ``started``, the form's signed time, is asked to send it again.
    form_timestamp: Literal["optional", "required"] = "optional"
    #: ``on``: who sends no proof of work is asked for one.
    altcha: bool = False
    #: A file of domains, one a line, whose addresses cannot sign up.
    disposable_domains_file: Path | None = None
    #: ``on``: of whom somebody signs up it is kept from which network (an IPv4 address's first 24
    #: bits, an IPv6 address's first 48), with the rest of the evidence of their consent. Say so in
    #: your privacy notice.
    keep_consent_network: bool = False

    # The console
    #: ``off``: there is no ``/console``.
    console: bool = True
    #: How long a sign-in at the console lasts at most.
    console_hours: Annotated[float, Field(gt=0, le=24 * 30)] = 12
    #: A session at the console that nobody uses for so long is over. That it is used is noted once
    #: a minute.
    console_idle_minutes: Annotated[float, Field(ge=5, le=24 * 60)] = 60

    # Signing in at the console by OpenID Connect
    #: The OpenID Connect provider by which operators sign in to the console, to the letter as it
    #: calls itself: ``https://login.example.org``. Empty means by API key alone. Needs the extra
    #: ``oidc``.
    oidc_issuer: Issuer = ""
    #: What the provider calls Reach. It is to lead back to
    #: ``<REACH_PUBLIC_URL>/console/oidc/callback``.
    oidc_client_id: Annotated[str, Field(max_length=500)] = ""
    #: What Reach proves to the provider that it is Reach with. Empty means that it has none there
    #: (a "public client").
    oidc_client_secret: SecretStr = SecretStr("")
    #: Which claim says what somebody may do: ``email`` (which the provider must have verified),
    #: ``groups``, ``realm_access.roles`` (a claim in a claim).
    oidc_claim: Annotated[str, Field(min_length=1, max_length=200)] = "email"
    #: What who has a value in that claim may do: ``ada@example.org=*;
    #: bob@example.org=people:read,messages:read``. Who has several may do all of it, who has none
    #: cannot sign in; ``*`` is every scope.
    oidc_grants: Grants = ""
    #: What the provider is asked for. Some have a scope for the claim, such as ``groups``.
    oidc_scopes: OidcScopes = "openid email"
    #: What the button says behind "Sign in with".
    oidc_name: Annotated[str, Field(min_length=1, max_length=60)] = "single sign-on"
    #: Verifies the provider instead of the system's certificate authorities.
    oidc_ca_file: Path | None = None

    # Delivery
    #: Messages that one worker process sends at the same time.
    worker_slots: Annotated[int, Field(ge=1, le=1000)] = 8
    #: How much one worker process sends to receiving domains: ``gmail.com=5/s, .example.org=60/min,
    #: *=20/s``. A dot before a name means all that lies below it, together; ``*`` every other
    #: domain, each by itself. Empty means as much as the mail server takes.
    domain_rates: Rates = ""
    #: How long a worker holds a message between renewals; a dead one's fall due after it.
    lease_seconds: Seconds = 60
    #: How long a stopping process finishes what it has in hand. Keep it below the pod's
    #: termination grace period.
    grace_seconds: Seconds = 20
    #: Finished messages are swept after this; each person's welcome is kept.
    keep_messages_days: Annotated[float, Field(gt=0)] = 90
    #: What operators did is known for so long: long enough for a question that comes a year later.
    keep_audit_days: Annotated[float, Field(gt=0)] = 365
    #: What webhooks were told is known for so long, and can be told again.
    keep_events_days: Annotated[float, Field(gt=0)] = 30
    #: First wait after a failed attempt; it doubles up to the cap (RFC 5321 §4.5.4.1).
    retry_first_seconds: Seconds = 30
    #: The longest wait between two attempts. Set it the same for all of Reach: what waits much
    #: longer than a process knows of, a clock that was wrong is taken to have set; it is due now.
    retry_cap_seconds: Seconds = 4 * 3600
    #: A message is given up this long after its own first failure.
    give_up_seconds: Seconds = 4 * 24 * 3600
    #: A message that the server refuses for reasons that may be ours (spam, policy, an account that
    #: may not send) fails after this, if others are sent meanwhile.
    suspect_seconds: Seconds = 24 * 3600
    #: First wait before an open circuit breaker probes the mail server; it doubles up to the cap.
    breaker_first_seconds: Seconds = 1
    #: The longest wait between two probes.
    breaker_cap_seconds: Seconds = 60
    #: How long the mail server may take (RFC 5321 §4.5.3.2): greeting, TLS, EHLO and AUTH, each. It
    #: must be reached in that time too, or in 30 s if that is less.
    smtp_greeting_seconds: Seconds = 300
    #: How long the mail server may take after MAIL FROM.
    smtp_mail_seconds: Seconds = 300
    #: How long the mail server may take after RCPT TO.
    smtp_rcpt_seconds: Seconds = 300
    #: How long the mail server may take after DATA.
    smtp_data_seconds: Seconds = 120
    #: How long the mail server may take after the final dot.
    smtp_final_seconds: Seconds = 600
    #: An idle connection to the mail server is closed after this long.
    smtp_idle_seconds: Seconds = 30
    #: Messages sent on one connection; then another is opened. Exim's and Stalwart's default: what
    #: comes after the tenth they queue, or refuse. 0 is as many as the mail server takes.
    smtp_messages_per_connection: Annotated[int, Field(ge=0)] = 10
    #: No message is begun on a connection that is older than this.
    smtp_connection_seconds: Seconds = 300

    # Whose emails they are
    #: Emails are signed (DKIM) with the key that DNS has at ``<selector>._domainkey.<domain>``.
    #: Empty means that Reach signs none; your mail server may. Needs the extra ``dkim``.
    dkim_selector: Domain = ""
    #: Whose signature it is: the domain that emails come from, or one above it. Empty means the
    #: domain of ``REACH_MAIL_FROM``.
    dkim_domain: Domain = ""
    #: What signs: an RSA key as PEM (``openssl genrsa 2048``). Only ``reach up`` and
    #: ``reach worker`` use it.
    dkim_private_key: SecretStr = SecretStr("")
    #: Whom ``reach check`` asks about your domain: ``9.9.9.9, [2620:fe::fe]:53``. Empty means the
    #: system's name servers, which may know your domain otherwise than the world does.
    dns_servers: NameServers = ""

    # The database
    #: A request that the database does not answer in this long gets 503.
    database_seconds: Annotated[float, Field(gt=0, le=60)] = 4
    #: Postgres connections of one process.
    database_connections: Annotated[int, Field(ge=2, le=1000)] = 10

    # Seeing it run
    #: Where Prometheus can ask for metrics. Empty means nowhere.
    metrics_port: Port | None = None
    #: Metrics tell no names, but how busy you are: keep them from the public.
    metrics_host: str = "127.0.0.1"
    #: How much is logged. At ``debug`` too, no address, name or token.
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags beat environment; ``*_FILE`` never meets its variable (see SecretFiles)."""
        return init_settings, env_settings, SecretFiles(settings_cls)
