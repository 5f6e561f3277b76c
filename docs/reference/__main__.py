"""Writes the reference: `make reference`."""

from docs.reference import logs, metrics, settings
from docs.reference.markdown import FOLDER

PAGES = {"settings.md": settings.written, "metrics.md": metrics.written, "logs.md": logs.written}


def main() -> None:
    """Write each page anew."""
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
