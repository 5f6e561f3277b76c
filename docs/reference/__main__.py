"""Writes the reference: `make reference`, or into a folder that is named."""

import sys
from pathlib import Path

from docs.reference import bounces, chart, cli, logs, metrics, replies, settings
from docs.reference.markdown import FOLDER

PAGES = {
    "settings.md": settings.written,
    "cli.md": cli.written,
    "metrics.md": metrics.written,
    "logs.md": logs.written,
    "chart.md": chart.written,
    replies.GUIDE.name: replies.written,
    bounces.GUIDE.name: bounces.written,
}
#: What is not a page of the reference, but holds a part of it.
HOMES = {one.name: one.parent for one in (replies.GUIDE, bounces.GUIDE)}


def main(folder: Path | None) -> None:
    """Write each page again, into ``folder`` or where it belongs."""
    for name, page in PAGES.items():
        ((folder or home(name)) / name).write_text(page(), encoding="utf-8")


def home(name: str) -> Path:
    """Say in which folder a page belongs."""
    return HOMES.get(name, FOLDER)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
