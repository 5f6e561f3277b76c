#!/usr/bin/env bash
# SQLite: `VACUUM INTO` is refused under `PRAGMA query_only`, and works on a connection opened read-only.
#
# Guess (written down first): VACUUM INTO writes nothing to the database that it reads, so both kinds of reader
# may do it: the connection opened read-only, and the one that has promised to change nothing.
# Seen: the connection opened read-only may. `query_only=ON` says "attempt to write a readonly database", though
# the file and its folder can be written, and nothing but the new file would be.
#
# Matters to: a backup that is made by a reader's connection. Ours opens one of its own for it.
# Needs: python3 (3.11 or later) with venv, and a package index.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apsw==3.54.1.0
cat >"$folder/look.py" <<'PYTHON'
import sys
from pathlib import Path

import apsw

SEEN = {"opened read-only": "copied", "query_only=ON": "attempt to write a readonly database"}


def tried(reader, copy):
    try:
        reader.execute("VACUUM INTO ?", (str(copy),))
    except apsw.ReadOnlyError as error:
        return str(error)
    count = apsw.Connection(str(copy)).execute("SELECT count(*) FROM people").fetchone()[0]
    return "copied" if count == 1000 else f"{count} rows"


folder = Path(sys.argv[1])
source = str(folder / "source.db")
writer = apsw.Connection(source)
writer.execute("PRAGMA journal_mode=WAL").fetchall()
writer.execute("CREATE TABLE people (id INTEGER PRIMARY KEY)")
writer.executemany("INSERT INTO people VALUES (?)", ((number,) for number in range(1000)))
careful = apsw.Connection(source)
careful.execute("PRAGMA query_only=ON").fetchall()
read_only = apsw.Connection(source, flags=apsw.SQLITE_OPEN_READONLY)
found = {
    "opened read-only": tried(read_only, folder / "one.db"),
    "query_only=ON": tried(careful, folder / "other.db"),
}
print(f"SQLite {apsw.sqlite_lib_version()} (apsw {apsw.apsw_version()})")
print("expected: both copy")
for name, what in found.items():
    print(f"seen: {name}: {what}")
sys.exit(found != SEEN)
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder"
