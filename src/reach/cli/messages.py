"""`reach messages`: emails, as people will see them."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from reach.cli.output import FAILED, MARKUP, MISUSED, Unwritten, answer, configured, end
from reach.mail import Form

cli = typer.Typer(no_args_is_help=True, rich_markup_mode=MARKUP, help="Emails, as people see them.")


@cli.callback()
def messages() -> None:
    """Have `preview` said: Typer would leave the name of a lone command out."""


@cli.command()
def preview(
    template: Annotated[str, typer.Argument(help="`welcome`, say, or one of your own.")],
    lang: Annotated[
        str | None, typer.Option(help="One of REACH_LANGUAGES; the first, by default.")
    ] = None,
    form: Annotated[Form, typer.Option("--format", help="What to show.")] = "html",
    output: Annotated[
        Path | None, typer.Option(help="A file to write; stdout, by default.")
    ] = None,
) -> None:
    """Show an email with sample data and links. No database is needed, and none is touched."""
    settings = configured(sys.stderr)
    from reach.mail.compose import CannotCompose
    from reach.mail.previews import preview as previewed
    from reach.mail.samples import sample_composer

    composer = sample_composer(settings)
    language = composer.language_of(lang)
    if language is None:
        end(f"No such language. Languages are: {', '.join(composer.languages)}", MISUSED)
    if template not in composer.templates:
        end(f"No such template. Templates are: {', '.join(sorted(composer.templates))}", MISUSED)
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
