"""Every email that Reach sends by itself, in every language, for those who judge how it is made."""

from typing import Any

from reach.mail.compose import Mail
from reach.mail.samples import DATA, IN_PLACE, sample, sample_composer
from reach.settings import Settings
from tests.support.messages import usual_settings

LANGUAGES = ("en", "de", "fr", "es")
EMAILS = [
    (template, number, language)
    for template in sorted(DATA)
    for number in range(len(DATA[template]))
    for language in LANGUAGES
]
#: As long as it may be, with nothing that a line could be broken at.
LONG_BRAND = "Donaudampfschifffahrtsgesellschaftskapitänswitwenverein" + "ßäöüé"
BRANDS: dict[str, dict[str, str]] = {
    "none": {},
    "whole": {
        "brand_name": "Fern & Moss",
        "brand_color": "#1f7a4d",
        "brand_logo": "https://fern.example/logo.png",
        "home_url": "https://fern.example",
        "privacy_url": "https://fern.example/privacy",
        "postal_address": "12 Orchard Road, Bristol BS1 4QA",
    },
    "long": {"brand_name": LONG_BRAND, "brand_color": "#ffd500", "postal_address": "x" * 300},
}


def branded(brand: str, **changes: Any) -> Settings:
    """Make the settings of a brand."""
    return usual_settings(**{"languages": ",".join(LANGUAGES), **BRANDS[brand], **changes})


def mail_of(brand: str, template: str, number: int, language: str) -> Mail:
    """Compose one."""
    settings = branded(brand)
    message = sample(settings, template, DATA[template][number], language=language)
    return sample_composer(settings).compose(message)


def html_of(brand: str, template: str, number: int, language: str, **changes: Any) -> str:
    """Render the HTML of one, with a token as long as they are."""
    settings = branded(brand, **changes)
    message = sample(settings, template, DATA[template][number], language=language)
    html = sample_composer(settings).render(message).html
    return html.replace(IN_PLACE, "rlt_" + "aB3-dE6_" * 7)
