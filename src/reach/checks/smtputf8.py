"""Whether mail to addresses that are not ASCII can leave, and what becomes of it then."""

from reach.checks.finding import Finding
from reach.checks.servers import PROBE_SECONDS
from reach.messages.outcome import Unavailable
from reach.settings import BadSettings, Settings
from reach.smtp.connection import Opener

SUBJECT = "smtputf8"
#: RFC 6531 §3.2: a server that cannot hand a message on to one with SMTPUTF8 bounces it.
BOUNCES = (
    "Every server on the way to the recipient must offer SMTPUTF8. If a later one does not, your "
    "relay bounces the message, often to nobody: Reach says `sent`, and no email comes. Send one "
    "to such an address of your own before you keep REACH_SMTPUTF8=on."
)


async def check_smtputf8(settings: Settings) -> Finding:
    """Whether the mail server takes addresses whose local part is not ASCII, if people may."""
    if not settings.smtputf8:
        return Finding(SUBJECT, "off: addresses are ASCII before the @")
    if settings.smtp is None:
        return Finding(SUBJECT, "on; the embedded mailbox of `reach up` takes all", advice=BOUNCES)
    seconds = min(PROBE_SECONDS, settings.smtp_greeting_seconds)
    quick = settings.model_copy(update={"smtp_greeting_seconds": seconds})
    try:
        opened = await Opener(quick, settings.smtp).open()
    except BadSettings:  # check_smtp says so
        return Finding(SUBJECT, "on; not known whether the mail server offers it", advice=BOUNCES)
    if isinstance(opened, Unavailable):
        return Finding(SUBJECT, "on; not known whether the mail server offers it", advice=BOUNCES)
    offers = opened.smtputf8
    opened.leave()
    await opened.closed
    if not offers:
        remedy = (
            "Emails to such addresses fail at once: set REACH_SMTPUTF8=off, "
            "or use a mail server that offers it."
        )
        return Finding(SUBJECT, "on, and the mail server does not offer SMTPUTF8", remedy)
    return Finding(SUBJECT, "on, and the mail server offers SMTPUTF8", advice=BOUNCES)
