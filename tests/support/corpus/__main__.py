"""``python -m tests.support.corpus``: record what is answered to the recorded requests.

What answers is the code that Python finds: ``PYTHONPATH=…/src`` says where another version is.
"""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

from reach.settings import Settings
from tests.support.corpus.asking import SOURCE, asked
from tests.support.corpus.exchanges import FOLDER, read, write
from tests.support.database.databases import migrate
from tests.support.processes.ports import free_port
from tests.support.times import SHORT_TIMES, UNLIMITED


def record(path: Path) -> None:
    """Ask what a file asks, and put what is answered in the place of what was."""
    corpus = read(path)
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/reach.sqlite3"
        migrate(url)
        given: dict[str, Any] = {
            **SHORT_TIMES,
            **UNLIMITED,
            "data_dir": folder,
            "database_url": url,
        }
        settings = Settings(**given, port=free_port())
        write(path, {**corpus, "exchanges": asyncio.run(asked(settings, corpus))})
    sys.stdout.write(f"{path.name}: {len(corpus['exchanges'])} exchanges with {SOURCE}\n")


if __name__ == "__main__":
    for one in sorted(FOLDER.glob("*.json")):
        record(one)
