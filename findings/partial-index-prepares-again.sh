#!/usr/bin/env bash
# SQLite: once a table has a partial index, a parameter compared with that index's column has the statement
# prepared again at every execution.
#
# Guess (written down first): a statement is prepared once, and run any number of times with other values; only a
# change of the schema has it prepared again. (A second guess, when it was seen to be slow: that is the statistics of
# STAT4. It is not: they are not compiled in here.)
# Seen: it is so until the table gets an index `WHERE state = 'queued'`. From then on `state = ?` has it prepared again
# each time that a value is bound, to see whether the index may be used for this one; with the value in the text, or with
# `(state = ?) IS TRUE`, it does not. That the index is of no use to the statement changes nothing.
#
# Matters to: statements in the hot path that compare a state, of which the outbox has a partial index.
# Needs: python3 (3.11 or later) with venv, and a package index.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apsw==3.54.1.0
cat >"$folder/look.py" <<'PYTHON'
import sys

import apsw

EXECUTIONS = 100
SEEN = {
    "a parameter, no partial index": "never",
    "a parameter, a partial index": "at each execution",
    "the value in the text": "never",
    "(state = ?) IS TRUE": "never",
}
connection = apsw.Connection(":memory:")
connection.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY, owner INTEGER, state TEXT, due INTEGER)")
connection.execute("CREATE INDEX jobs_owner ON jobs (owner)")
asked = 0


def ask(*_):
    """SQLite asks its authorizer while it prepares a statement, and at no other time."""
    global asked
    asked += 1
    return apsw.SQLITE_OK


def prepared_again(condition, *values):
    global asked
    statement = f"SELECT due FROM jobs WHERE owner = ? AND {condition}"
    connection.execute(statement, (1, *values)).fetchall()
    asked = 0
    for _ in range(EXECUTIONS):
        connection.execute(statement, (1, *values)).fetchall()
    if asked % EXECUTIONS:
        return f"asked {asked} times"
    return "at each execution" if asked else "never"


connection.authorizer = ask
found = {"a parameter, no partial index": prepared_again("state = ?", "queued")}
connection.execute("CREATE INDEX jobs_due ON jobs (due) WHERE state = 'queued'")
found["a parameter, a partial index"] = prepared_again("state = ?", "queued")
found["the value in the text"] = prepared_again("state = 'queued'")
found["(state = ?) IS TRUE"] = prepared_again("(state = ?) IS TRUE", "queued")
print(f"SQLite {apsw.sqlite_lib_version()} (apsw {apsw.apsw_version()})")
print("expected: never prepared again, whatever indexes there are")
for name, when in found.items():
    print(f"seen: {name}: {when}")
sys.exit(found != SEEN)
PYTHON
"$folder/venv/bin/python" "$folder/look.py"
