"""Writes the reference: `make reference`, or into a folder that is named."""

import sys
from pathlib import Path

from docs.reference import chart, logs, metrics, settings
from docs.reference.markdown import FOLDER

PAGES = {
    "settings.md": settings.written,
    "metrics.md": metrics.written,
    "logs.md": logs.written,
    "chart.md": chart.written,
}


def main(folder: Path) -> None:
    """Write each page anew."""
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
