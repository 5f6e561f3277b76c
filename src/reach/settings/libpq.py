"""The parameters of a Postgres URL: libpq's, made asyncpg's, or refused by name.

https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-PARAMKEYWORDS
"""

import re
import ssl
from collections.abc import Iterator, Mapping, Sequence

from reach.network.hosts import Place
from reach.settings.server_urls import decoded

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
#: Those that encrypt or fail.
STRICT_MODES = ("require", "verify-ca", "verify-full")
CHANNEL_BINDINGS = ("disable", "prefer", "require")
SYSTEM = "system"

#: Who logs in, where, and into what: read by ``DatabaseUrl``.
LOGIN = ("user", "password")
WHERE = ("host", "port", "dbname")
#: What becomes asyncpg's ``ssl``.
SECURITY = ("sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword", "channel_binding")
#: What the server is told at the start of a session.
SESSION = ("application_name", "options")
#: Which of several servers is wanted (asyncpg's words are libpq's).
TARGETS = ("any", "read-write", "primary")
#: … and what else libpq knows.
READING_TARGETS = ("read-only", "standby", "prefer-standby")
#: Secrets and names of who logs in: never shown.
UNSHOWN = (*LOGIN, "sslpassword")
CHOICES = {
    "sslmode": SSL_MODES,
    "channel_binding": CHANNEL_BINDINGS,
    "target_session_attrs": TARGETS,
}
#: What Reach does anyway: these values are taken, any other is refused.
AS_EVER: dict[str, tuple[str, ...]] = {
    "client_encoding": ("utf8", "UTF8", "utf-8", "UTF-8", "auto"),
    "gssencmode": ("disable", "prefer"),
    "keepalives": ("1",),
    "load_balance_hosts": ("disable",),
    "replication": ("0", "off", "no", "false"),
    "ssl_min_protocol_version": ("TLSv1", "TLSv1.1", "TLSv1.2"),
    "sslcertmode": ("allow",),
    "sslcompression": ("0",),
    "sslnegotiation": ("postgres",),
    "sslsni": ("1",),
}
#: Taken, and without effect: Reach's own time limits are shorter.
TIMES = (
    *("connect_timeout", "tcp_user_timeout"),
    *("keepalives_count", "keepalives_idle", "keepalives_interval"),
)
#: … and what providers add for other clients (Supabase and its integrations).
OTHERS = ("pgbouncer", "supa", "fallback_application_name")
#: libpq's, and not asyncpg's or not ours.
REFUSED = (
    *("gssdelegation", "gsslib", "hostaddr", "krbsrvname", "max_protocol_version"),
    *("min_protocol_version", "oauth_ca_file", "oauth_client_id", "oauth_client_secret"),
    *("oauth_issuer", "oauth_scope", "passfile", "require_auth", "requirepeer", "requiressl"),
    *("scram_client_key", "scram_server_key", "service", "servicefile", "ssl_max_protocol_version"),
    *("sslcrl", "sslcrldir", "sslkeylogfile"),
)
NAMES = frozenset(
    (*LOGIN, *WHERE, *SECURITY, *SESSION, *CHOICES, *AS_EVER, *TIMES, *OTHERS, *REFUSED)
)


def read(text: str) -> list[tuple[str, str]]:
    """Read what is behind the ``?``: names and values, in order. Raises ValueError.

    A ``+`` is a plus, as in libpq. A name that is none of libpq's is not repeated: it may be what a
    ``&`` in a password has cut off.
    """
    found = []
    for number, part in enumerate(filter(None, text.split("&")), 1):
        name, mark, value = part.partition("=")
        if name not in NAMES or not mark:
            raise ValueError(
                f"has a parameter (number {number} behind the ?) that is none of libpq's: "
                "in a value write & as %26"
            )
        if name in REFUSED:
            raise ValueError(f"has the parameter {name}, which Reach does not offer: leave it out")
        found.append((name, decoded(value)))
        _check(name, found[-1][1])
    return found


def _check(name: str, value: str) -> None:
    """Raises ValueError if the value is none that the parameter may have here."""
    known = CHOICES | AS_EVER
    if name == "target_session_attrs" and value in READING_TARGETS:
        raise ValueError(
            f"has target_session_attrs={value}, and Reach writes: leave it out, "
            "then the server that takes writes is found"
        )
    if value and value not in known.get(name, (value,)):
        words = "is not one of" if name in CHOICES else "Reach does not offer; it offers"
        wrong = f"has {'an' if name[0] in 'aeios' else 'a'} {name} that {words} "
        raise ValueError(wrong + ", ".join(known[name]))
    if name in TIMES and not re.fullmatch(r"-?[0-9]{0,9}", value):
        raise ValueError(f"has a {name} that is not a whole number")


def places(named: Sequence[Place], parameters: list[tuple[str, str]]) -> tuple[Place, ...]:
    """Add what ``host`` and ``port`` say to what stands before the ``?``.

    Several have commas between them, or parameters of their own; a host that begins with a slash is
    the folder of a socket. Raises ValueError.
    """
    hosts = [host for name, value in parameters if name == "host" for host in value.split(",")]
    ports = [port for name, value in parameters if name == "port" for port in value.split(",")]
    if hosts and any(place.host for place in named):
        raise ValueError("names its host twice, once behind the ?: keep one")
    found = [_place(host) for host in hosts] or list(named)
    if any(ports):
        if any(place.port for place in found):
            raise ValueError("names its port twice, once behind the ?: keep one")
        if len(ports) not in (1, len(found)):
            raise ValueError("must have one port, or one for each host")
        each = ports if len(ports) == len(found) else ports * len(found)
        found = [
            Place(place.host, Place.parse(f":{port}").port)
            for place, port in zip(found, each, strict=True)
        ]
    if len(found) > 1 and not all(place.host for place in found):
        raise ValueError("has a host without a name")
    return tuple(place for place in found if place != Place(""))


def _place(host: str) -> Place:
    if host.startswith("/"):
        return Place(host)
    return Place.parse(f"[{host}]" if host.count(":") > 1 and "[" not in host else host)


def security(parameters: Mapping[str, str]) -> str | ssl.SSLContext | None:
    """Make asyncpg's ``ssl`` of libpq's words. Raises ValueError.

    As in libpq, a root certificate makes ``require`` verify, and ``sslrootcert=system`` verifies
    the name. libpq has no default authorities but its user's own file; the system's serve better.
    ``channel_binding=require`` wants proof that nobody is in between; asyncpg cannot bind, so the
    certificate and its name have to prove it (decision 0032).
    """
    mode, root = parameters.get("sslmode") or None, parameters.get("sslrootcert")
    is_bound = parameters.get("channel_binding") == "require"
    if is_bound and mode in ("disable", "allow"):
        raise ValueError("has channel_binding=require, which needs an sslmode of require or more")
    checks_name = is_bound or root == SYSTEM or mode == "verify-full"
    if parameters.get("sslcert") and mode not in STRICT_MODES and not checks_name:
        raise ValueError("has an sslcert, which needs an sslmode of require or more")
    if parameters.get("sslkey") and not parameters.get("sslcert"):
        raise ValueError("has an sslkey without an sslcert")
    verifies = checks_name or mode == "verify-ca" or (root and mode == "require")
    if not verifies and not parameters.get("sslcert"):
        return mode
    context = _trusting(None if root == SYSTEM else root)
    context.check_hostname = checks_name
    if not verifies:
        context.verify_mode = ssl.CERT_NONE
    if parameters.get("sslcert"):
        _introduce(context, parameters)
    return context


def _trusting(root: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=root or None)
    except OSError as error:
        raise ValueError(f"names an sslrootcert that cannot be used ({error.strerror})") from None


def _introduce(context: ssl.SSLContext, parameters: Mapping[str, str]) -> None:
    """Show the server a certificate of ours. Raises ValueError."""
    password = parameters.get("sslpassword", "")
    try:
        # Not None: OpenSSL would ask for a password on the terminal, and wait.
        context.load_cert_chain(
            parameters["sslcert"], parameters.get("sslkey") or None, lambda: password
        )
    except OSError as error:
        words = f"names an sslcert or sslkey that cannot be used ({error.strerror})"
        raise ValueError(words) from None


def session(parameters: Mapping[str, str]) -> dict[str, str]:
    """Choose what the server is told at the start of a session."""
    return {name: parameters[name] for name in SESSION if parameters.get(name)}


def shown(parameters: list[tuple[str, str]]) -> Iterator[str]:
    """Write what may be shown."""
    return (f"{name}={value}" for name, value in parameters if name not in UNSHOWN)
