"""What is left of somebody: in the tables, and in the files."""

from pathlib import Path
from typing import Any

from reach.db.transaction import Transaction
from reach.db.types import metadata


def everything(tx: Transaction) -> dict[str, list[Any]]:
    """Every row of every table but the operators' keys, and tallies, which are of everybody."""
    return {
        table.name: [tuple(row) for row in tx.execute(table.select())]
        for table in metadata.sorted_tables
        if table.name not in ("api_keys", "tallies")
    }


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of every file in a folder."""
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
