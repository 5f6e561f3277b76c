"""`reach messages preview`: emails with sample data, without a database."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reach.cli.output import FAILED, MISUSED, Unwritten, answer, configured, end
from reach.mail import Form

if TYPE_CHECKING:
    from reach.mail.compose import Composer
    from reach.settings import Settings

TemplateName = Annotated[
    str, typer.Argument(metavar="TEMPLATE", help="`welcome`, say, or one of your own.")
]
Lang = Annotated[
    str | None, typer.Option(help="One of REACH_LANGUAGES; the first, by default.", metavar="CODE")
]


def preview(
    template: TemplateName,
    lang: Lang = None,
    form: Annotated[Form, typer.Option("--format", help="What to show.")] = "html",
    output: Annotated[
        Path | None, typer.Option(help="A file to write; stdout, by default.", metavar="FILE")
    ] = None,
) -> None:
    """Show an email with sample data and links. No database is needed, and none is touched."""
    settings = configured(sys.stderr)
    from reach.mail.compose import CannotCompose
    from reach.mail.previews import preview as previewed

    composer, language = composer_of(settings, template, lang)
    try:
        text = previewed(settings, composer, template, language=language, form=form)
    except CannotCompose as error:
        end(str(error), FAILED)
    if output is None:
        answer(text.removesuffix("\n"))
        return
    try:
        output.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise Unwritten(f"{output} cannot be written: {error.strerror}.") from None


def composer_of(settings: "Settings", template: str, lang: str | None) -> "tuple[Composer, str]":
    """Make what composes samples, and find the language; it ends with 2 if there is no such one."""
    from reach.mail.samples import sample_composer

    composer = sample_composer(settings)
    language = composer.language_of(lang)
    if language is None:
        end(f"No such language. Languages are: {', '.join(composer.languages)}", MISUSED)
    if template not in composer.templates:
        end(f"No such template. Templates are: {', '.join(sorted(composer.templates))}", MISUSED)
    return composer, language
