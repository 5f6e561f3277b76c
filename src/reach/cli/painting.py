"""Colours, for a terminal that shows them and a person who wants them."""

import os
import sys
from collections.abc import Callable, Mapping

#: By what a line means. What does not matter stays as it is.
STYLES: Mapping[str, str] = {"good": "green", "bad": "bold red", "warning": "yellow"}


def painter() -> Callable[[str, str], str]:
    """Choose how a line (its text, and how it is meant) is written to stdout.

    Without colours unless stdout is a terminal; nor where ``NO_COLOR`` is set
    (https://no-color.org) or the terminal is dumb.
    """
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    if not is_terminal or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return lambda text, _tone: text
    from rich.console import Console  # noqa: PLC0415 - few need it
    from rich.text import Text  # noqa: PLC0415 - likewise

    console = Console(force_terminal=True, soft_wrap=True, color_system="standard")

    def paint(text: str, tone: str) -> str:
        with console.capture() as capture:
            console.print(Text(text, STYLES.get(tone, "")), end="")
        return capture.get()

    return paint
