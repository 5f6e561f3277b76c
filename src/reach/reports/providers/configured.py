"""Which providers are set up: those whose secret, key or topic the settings have."""

from collections.abc import Callable, Mapping
from importlib.util import find_spec

from reach.db.database import Database
from reach.reports.providers.amazon_ses import AmazonSes
from reach.reports.providers.generic import Generic
from reach.reports.providers.mailgun import Mailgun
from reach.reports.providers.model import Provider
from reach.reports.providers.postmark import Postmark
from reach.reports.providers.resend import Resend
from reach.reports.providers.sendgrid import SendGrid
from reach.reports.providers.sns import Envelopes, Fetcher
from reach.settings import BadSettings, Settings
from reach.settings.bounces import parse_topics, split
from reach.telemetry.metrics import expect_reports

#: What is not on every machine, and which variable needs it.
LIBRARIES = {
    "bounces_amazon_ses_topics": ("cryptography", "httpx2"),
    "bounces_sendgrid_key": ("cryptography",),
}
EXTRA = (
    "{variable} is set, and what verifies signatures is not installed. Install the extra: "
    "pip install 'reach[providers]', or, where `make run` installed Reach, .venv/bin/python -m pip "
    "install --require-hashes --requirement requirements/providers.txt"
)
#: In the order of the guide; by the setting that turns each on.
NAMES = ("amazon-ses", "postmark", "mailgun", "sendgrid", "resend", "generic")


def configured(settings: Settings, database: Database) -> Mapping[str, Provider]:
    """Make the providers that are set up, by their names. Raises BadSettings."""
    for field, libraries in LIBRARIES.items():
        if getattr(settings, field) and not all(map(_is_installed, libraries)):
            raise BadSettings(EXTRA.format(variable=f"REACH_{field.upper()}"))
    makers: Mapping[str, Callable[[], Provider]] = {
        "bounces_amazon_ses_topics": lambda: AmazonSes(
            Envelopes(parse_topics(settings.bounces_amazon_ses_topics), Fetcher())
        ),
        "bounces_postmark_secret": lambda: Postmark(
            split(settings.bounces_postmark_secret.get_secret_value())
        ),
        "bounces_mailgun_key": lambda: Mailgun(settings, database),
        "bounces_sendgrid_key": lambda: SendGrid(split(settings.bounces_sendgrid_key)),
        "bounces_resend_secret": lambda: Resend(
            split(settings.bounces_resend_secret.get_secret_value())
        ),
        "bounces_generic_secret": lambda: Generic(settings),
    }
    made = [make() for field, make in makers.items() if _is_set(settings, field)]
    for provider in made:
        expect_reports(provider.name)
    return {provider.name: provider for provider in made}


def _is_installed(name: str) -> bool:
    """Whether a library can be imported; to do so would take memory that is not needed yet."""
    try:
        return find_spec(name) is not None
    except ValueError:  # one that was hidden: sys.modules has None for it
        return False


def _is_set(settings: Settings, field: str) -> bool:
    value = getattr(settings, field)
    return bool(value if isinstance(value, str) else value.get_secret_value())
