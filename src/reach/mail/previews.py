"""Previews: a template as an email would have it, with sample data."""

from reach.mail import Form
from reach.mail.compose import Composer
from reach.mail.samples import data_of, sample
from reach.settings import Settings


def preview(
    settings: Settings, composer: Composer, template: str, *, language: str, form: Form
) -> str:
    """Write a template's email, or a part of it, in a language. Raises CannotCompose."""
    message = sample(settings, template, data_of(composer, template)[0], language=language)
    if form == "source":
        return composer.compose(message).content.decode()
    rendered = composer.render(message)
    return {"html": rendered.html, "text": rendered.text, "subject": rendered.subject + "\n"}[form]
