"""Cells of CSV files that spreadsheets would take for formulas: marked on the way out, and back.

A program that shows a table runs what begins so (https://owasp.org/www-community/attacks/CSV_Injection):
an address or a name that a stranger chose must not do anything on an operator's machine. An
apostrophe before it makes it text. One more is put before what looks as if it had one already, so
that reading gives back what was written, whatever it was.
"""

import re

#: The full-width ones count as well where East Asian text is typed.
_MARKED = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_MAY_BE = frozenset("'=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


def guarded(text: str) -> str:
    """Write a text as a cell that no spreadsheet runs."""
    return f"'{text}" if text[:1] in _MAY_BE and _MARKED.match(text) else text


def unguarded(cell: str) -> str:
    """Read what ``guarded`` wrote."""
    return cell[1:] if cell[:1] == "'" and _MARKED.match(cell) else cell
