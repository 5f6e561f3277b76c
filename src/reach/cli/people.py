"""`reach people`: who signed up."""

import typer

from reach.cli.exporting import export_people
from reach.cli.importing import import_list
from reach.cli.output import MARKUP

cli = typer.Typer(no_args_is_help=True, rich_markup_mode=MARKUP, help="Who signed up.")
cli.command("import")(import_list)
cli.command("export")(export_people)
