"""One real message, sent as any other is, and what the mail server says to it."""

from reach.checks import samples
from reach.checks.finding import Finding
from reach.checks.servers import remedy_of
from reach.mail.compose import CannotCompose
from reach.mail.dkim import DkimKey
from reach.messages.outcome import Outcome, Sent, Unavailable
from reach.settings import BadSettings, Settings
from reach.smtp.sender import Sender

SUBJECT = "sent"
#: The longest that any step of the dialogue is waited for: somebody looks on.
STEP_SECONDS = 60
STEPS = ("greeting", "mail", "rcpt", "data", "final")
NO_SERVER = "Set REACH_SMTP_URL: only a mail server can send it on; `reach up` has a mailbox."
ARRIVED = (
    "It is the welcome, with a made-up name and links that are samples. Look for it in the inbox "
    "and in the junk folder."
)
NOT_TAKEN = "The mail server does not take this message. Its words say why; try another address."


async def send_sample(settings: Settings, to: str) -> Finding:
    """Send the welcome to ``to``, once, with sample data; a refusal is not tried again."""
    if settings.smtp is None:
        return Finding(SUBJECT, "nothing: there is no mail server", NO_SERVER)
    limits = {
        f"smtp_{step}_seconds": min(STEP_SECONDS, getattr(settings, f"smtp_{step}_seconds"))
        for step in STEPS
    }
    message = samples.sample(settings, "welcome", {"name": samples.NAME}, to)
    try:
        mail = samples.composer(settings, DkimKey.of(settings)).compose(message)
        sender = Sender(settings.model_copy(update=limits), settings.smtp)
        outcome = await sender.send(mail, still_held=lambda: True)
    except (BadSettings, CannotCompose) as error:
        return Finding(SUBJECT, "nothing: it cannot be composed", str(error))
    await sender.close()
    return _finding(outcome, message.message_id, settings)


def _finding(outcome: Outcome, message_id: str, settings: Settings) -> Finding:
    if isinstance(outcome, Sent):
        return Finding(SUBJECT, f"{outcome.words} (Message-ID {message_id})", advice=ARRIVED)
    remedy = remedy_of(outcome, settings) if isinstance(outcome, Unavailable) else NOT_TAKEN
    return Finding(SUBJECT, f"{outcome.name}: {outcome.words}", remedy)
