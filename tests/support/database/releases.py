"""The next release of Reach: this one's source, with migrations that this one does not know."""

import shutil
from pathlib import Path

import reach
from reach.db.schema import VERSIONS
from tests.support.root import ROOT

SOURCE = Path(reach.__file__).parent
#: What this release knows, and the samples: a release's migrations, as they may be. Their numbers
#: are far from ours, which may become more.
NEXT = ROOT / "deploy" / "tests" / "next_release"
NEXT_REVISION = "0103"


def next_release(folder: Path) -> dict[str, str]:
    """Write it into ``folder``; returns the variables by which a process runs it."""
    shutil.copytree(SOURCE, folder / "reach", ignore=shutil.ignore_patterns("__pycache__"))
    add_migrations(folder / "reach" / VERSIONS.parent.relative_to(SOURCE), NEXT)
    return {"PYTHONPATH": str(folder)}


def migrations_with(folder: Path, *samples: Path) -> Path:
    """Write our migrations and samples into ``folder``, for Alembic; returns where they are."""
    place = folder / "migrations"
    shutil.copytree(VERSIONS.parent, place, ignore=shutil.ignore_patterns("__pycache__"))
    for sample in samples:
        add_migrations(place, sample)
    return place


def add_migrations(place: Path, sample: Path) -> None:
    """Add one migration, or a folder of them."""
    for file in sample.glob("[0-9]*.py") if sample.is_dir() else [sample]:
        shutil.copy(file, place / "versions")
