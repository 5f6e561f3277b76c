"""What `--help` prints is what was written: no word of it is taken for markup."""

import re
from collections.abc import Iterator

import pytest
import typer
from typer.testing import CliRunner

from reach.cli import cli

GROUP = typer.main.get_command(cli)


def commands(command: object, *path: str) -> Iterator[tuple[tuple[str, ...], object]]:
    """A command and all below it, each with the words that call it."""
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, *path, name)


COMMANDS = dict(commands(GROUP))


def words(text: str) -> str:
    """A text without the frames that it is printed in, its line breaks, and what marks code."""
    return re.sub(r"[\s│╭╮╰╯─`]+", "", text)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_word_of_a_help_is_printed(path: tuple[str, ...]) -> None:
    """Each command's own, and its options': brackets, defaults and all."""
    command = COMMANDS[path]
    written = [getattr(command, "help", None)]
    written += [getattr(one, "help", None) for one in getattr(command, "params", ())]
    wide = {"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"}
    done = CliRunner().invoke(cli, [*path, "--help"], env=wide, catch_exceptions=False)
    assert done.exit_code == 0
    printed = words(done.stdout)
    assert any(written)
    assert [text for text in written if text and words(text) not in printed] == []
