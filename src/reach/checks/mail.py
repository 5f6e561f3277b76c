"""Whether the mail servers that the settings name let us send, and a message sent on request."""

import anyio

from reach.checks.report import Finding
from reach.checks.servers import PROBE_SECONDS
from reach.mail.compose import CannotCompose
from reach.mail.dkim import DkimKey
from reach.mail.samples import NAME, sample, sample_composer
from reach.messages.outcome import Outcome, Sent, Unavailable
from reach.settings import BadSettings, Settings
from reach.settings.urls import SmtpUrl
from reach.smtp.opening import Opener
from reach.smtp.sender import Sender
from reach.smtp.session import MAIL

#: The longest that any step of a message's dialogue is waited for: somebody looks on.
STEP_SECONDS = 60
BOUNCES = (  # RFC 6531 §3.2
    "Every server on the way to the recipient must offer SMTPUTF8. If a later one does not, your "
    "relay bounces the message, often to nobody: Reach says `sent`, and no email comes. Send one "
    "to such an address of your own before you keep REACH_SMTPUTF8=on."
)
NO_SERVER = "Set REACH_SMTP_URL: only a mail server can send it on; `reach up` has a mailbox."
ARRIVED = (
    "It is the welcome, with a made-up name and links that are samples. Look for it in the inbox "
    "and in the junk folder."
)
NOT_TAKEN = "The mail server does not take this message. Its words say why; try another address."


async def check_smtp(settings: Settings) -> Finding:
    """Whether each mail server lets us send: connect, TLS, EHLO, AUTH, MAIL FROM, RSET, QUIT."""
    servers = settings.smtp_servers
    if not servers:
        return Finding("smtp", "the embedded mailbox of `reach up`")
    asked: dict[SmtpUrl, tuple[str, str]] = {}

    async def ask(server: SmtpUrl) -> None:
        asked[server] = await _let_in(settings, server)

    async with anyio.create_task_group() as group:
        for server in servers:
            group.start_soon(ask, server)
    found = [asked[server] for server in servers]  # in the settings' order
    words = "; ".join(
        f"{number}. {words}" if len(servers) > 1 else words
        for number, (words, _) in enumerate(found, 1)
    )
    return Finding("smtp", words, "\n".join(dict.fromkeys(remedy for _, remedy in found if remedy)))


async def _let_in(settings: Settings, server: SmtpUrl) -> tuple[str, str]:
    """Say what a mail server answers, and what to do about it, if anything."""
    where = f"{server.host}:{server.port} ({server.security})"
    try:
        unavailable = await Sender(_quick(settings, PROBE_SECONDS), server).probe()
    except BadSettings as error:
        return f"{where}: not asked", str(error)
    if unavailable is not None:
        return f"{where}: {unavailable.words}", _remedy_of(unavailable, settings)
    name = _sender_of(settings)
    return f"{where} lets us in, and takes mail from {name}", ""


def _sender_of(settings: Settings) -> str:
    """Name the setting that says whose mail the server is to take."""
    if settings.return_path:
        return "REACH_RETURN_PATH"
    return "REACH_ENVELOPE_SENDER" if settings.envelope_sender else "REACH_MAIL_FROM"


def _quick(settings: Settings, seconds: float) -> Settings:
    """Wait no longer than this for any step of the dialogue with the mail server."""
    steps = (f"smtp_{step}_seconds" for step in ("greeting", "mail", "rcpt", "data", "final"))
    return settings.model_copy(
        update={step: min(seconds, getattr(settings, step)) for step in steps}
    )


def _remedy_of(unavailable: Unavailable, settings: Settings) -> str:
    """Say what to look at if the mail server does not let us in, or does not take our sender."""
    if not unavailable.text.startswith(MAIL.name):
        url = "REACH_SMTP_URLS" if settings.smtp_urls.get_secret_value() else "REACH_SMTP_URL"
        if settings.smtp_oauth_token_url and unavailable.text.startswith("AUTH"):
            return f"Check {url} (its user) and REACH_SMTP_OAUTH_*: the mailbox must let it send."
        return f"Check {url} (scheme, port, user, password) and REACH_SMTP_CA_FILE."
    sender = settings.envelope_from
    name = _sender_of(settings)
    return (
        f"It lets us in, and takes nothing from {sender}: check {name}, and what your "
        "mail provider lets this login send as."
    )


async def check_smtputf8(settings: Settings) -> Finding:
    """Whether the mail server takes addresses whose local part is not ASCII, if people may."""
    if not settings.smtputf8:
        return Finding("smtputf8", "off: addresses are ASCII before the @")
    if settings.smtp is None:
        words = "on; the embedded mailbox of `reach up` takes all"
        return Finding("smtputf8", words, advice=BOUNCES)
    told = [await _offers_smtputf8(settings, server) for server in settings.smtp_servers]
    offers = None if None in told else all(told)
    if offers is None:
        words = "on; not known whether the mail server offers it"
        return Finding("smtputf8", words, advice=BOUNCES)
    if not offers:
        remedy = (
            "Emails to such addresses fail at once: set REACH_SMTPUTF8=off, "
            "or use a mail server that offers it."
        )
        return Finding("smtputf8", "on, and the mail server does not offer SMTPUTF8", remedy)
    return Finding("smtputf8", "on, and the mail server offers SMTPUTF8", advice=BOUNCES)


async def _offers_smtputf8(settings: Settings, server: SmtpUrl) -> bool | None:
    """Ask the mail server for it; None if it does not let us in, which check_smtp says."""
    try:
        opened = await Opener(_quick(settings, PROBE_SECONDS), server).open()
    except BadSettings:
        return None
    if isinstance(opened, Unavailable):
        return None
    opened.leave()
    await opened.closed
    return opened.smtputf8


async def send_sample(settings: Settings, to: str) -> Finding:
    """Send the welcome to ``to``, once, with sample data; a refusal is not tried again."""
    if settings.smtp is None:
        return Finding("sent", "nothing: there is no mail server", NO_SERVER)
    message = sample(settings, "welcome", {"name": NAME}, to)
    try:
        mail = sample_composer(settings, DkimKey.of(settings)).compose(message)
        outcome: Outcome = Unavailable("")
        for server in settings.smtp_servers:
            sender = Sender(_quick(settings, STEP_SECONDS), server)
            outcome = await sender.send(mail, still_held=lambda: True)
            await sender.close()
            if not isinstance(outcome, Unavailable):
                break
    except (BadSettings, CannotCompose) as error:
        return Finding("sent", "nothing: it cannot be composed", str(error))
    if isinstance(outcome, Sent):
        words = f"{outcome.words} (Message-ID {message.message_id})"
        return Finding("sent", words, advice=ARRIVED)
    remedy = _remedy_of(outcome, settings) if isinstance(outcome, Unavailable) else NOT_TAKEN
    return Finding("sent", f"{outcome.name}: {outcome.words}", remedy)
