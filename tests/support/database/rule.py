"""The rule for migrations of docs/guides/writing-a-migration.md, checked on a real Postgres.

A *breach* is either what the version before would miss ("breaks": it still runs while a migration
is made, and may come back), or what would have requests wait ("blocks").
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, NullPool, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from reach.db.migrate import upgrade
from reach.db.migrations.steps import BATCH_ROWS
from reach.settings.database_url import DatabaseUrl

_TABLES = """
    SELECT c.relname AS name, c.oid, pg_relation_filenode(c.oid) AS file
    FROM pg_class AS c
    WHERE c.relkind IN ('r', 'p') AND c.relnamespace = current_schema()::regnamespace
    AND c.relname <> 'alembic_version'
"""
_COLUMNS = f"""
    SELECT t.name AS "table", a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type,
        a.attnotnull AS is_needed,
        a.atthasdef OR a.attidentity <> '' OR a.attgenerated <> '' AS is_given
    FROM ({_TABLES}) AS t JOIN pg_attribute AS a ON a.attrelid = t.oid
    WHERE a.attnum > 0 AND NOT a.attisdropped
"""
#: Indexes, constraints and triggers: what kind each is, and which columns it is about.
_PARTS = f"""
    SELECT t.name AS "table", i.relname AS name, x.indisvalid AS is_valid,
        CASE WHEN x.indisunique THEN 'unique index' ELSE 'index' END AS kind,
        (SELECT array_agg(a.attname::text) FROM pg_attribute AS a
            WHERE a.attrelid = t.oid AND a.attnum = ANY (x.indkey)) AS columns
    FROM ({_TABLES}) AS t
    JOIN pg_index AS x ON x.indrelid = t.oid JOIN pg_class AS i ON i.oid = x.indexrelid
    UNION ALL
    SELECT t.name, k.conname, TRUE, 'constraint',
        (SELECT array_agg(a.attname::text) FROM pg_attribute AS a
            WHERE a.attrelid = t.oid AND a.attnum = ANY (k.conkey))
    FROM ({_TABLES}) AS t JOIN pg_constraint AS k ON k.conrelid = t.oid
    -- Newer servers have one for each NOT NULL, which the columns tell already.
    WHERE k.contype <> 'n'
    UNION ALL
    SELECT t.name, g.tgname, TRUE, 'trigger', NULL
    FROM ({_TABLES}) AS t JOIN pg_trigger AS g ON g.tgrelid = t.oid WHERE NOT g.tgisinternal
"""


@dataclass(frozen=True)
class Schema:
    """A schema as it is at one time."""

    files: Mapping[str, int]
    columns: Mapping[tuple[str, str], Any]
    parts: Mapping[tuple[str, str, str], Any]

    @property
    def shape(self) -> tuple[object, ...]:
        """All of it but where it lies."""
        return (
            sorted(self.files),
            {key: (c.type, c.is_needed, c.is_given) for key, c in self.columns.items()},
            {key: (p.kind, p.is_valid) for key, p in self.parts.items()},
        )


def schema_of(connection: Connection) -> Schema:
    """Read the schema of a database."""
    parts = connection.execute(text(_PARTS)).all()
    return Schema(
        {t.name: t.file for t in connection.execute(text(_TABLES))},
        {(c.table, c.name): c for c in connection.execute(text(_COLUMNS))},
        {(p.table, p.name, p.kind): p for p in parts},
    )


def missed(before: Schema, after: Schema) -> Iterator[str]:
    """What the version before would miss, or be refused, after a migration."""
    for table in before.files.keys() - after.files.keys():
        yield f"table {table} is gone"
    for (table, name), old in before.columns.items():
        new = after.columns.get((table, name))
        if table not in after.files:
            continue
        if new is None:
            yield f"column {table}.{name} is gone"
        elif new.type != old.type:
            yield f"column {table}.{name} has another type"
        elif new.is_needed and not old.is_needed:
            yield f"column {table}.{name} may be NULL no longer"
        elif old.is_given and not new.is_given:
            yield f"column {table}.{name} has no default any more"
    for (table, name), new in after.columns.items():
        is_new = table in before.files and (table, name) not in before.columns
        if is_new and new.is_needed and not new.is_given:
            yield f"column {table}.{name} is needed, and the version before does not give it"
    yield from _parts_missed(before, after)


def _parts_missed(before: Schema, after: Schema) -> Iterator[str]:
    for table, name, kind in before.parts.keys() - after.parts.keys():
        if table in after.files:
            yield f"{kind} {name} is gone"
    for table, name, kind in after.parts.keys() - before.parts.keys():
        columns = set(after.parts[table, name, kind].columns or ())
        is_old = columns and all((table, column) in before.columns for column in columns)
        if kind in ("constraint", "unique index") and is_old:
            yield f"{kind} {name} may refuse what the version before writes"


def unfinished(before: Schema, after: Schema) -> Iterator[str]:
    """What a migration did to a table in use that took its whole length, or left behind."""
    for table, file in before.files.items():
        if after.files.get(table, file) != file:
            yield f"table {table} is rewritten"
    for (_, name, kind), part in after.parts.items():
        if not part.is_valid:
            yield f"{kind} {name} is not valid"


#: What nobody who writes can have beside them.
STRONG = ("ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock")
#: Each may be waited for as long as ``LOCK_SECONDS``, and a request has REACH_DATABASE_SECONDS.
MOST_LOCKED_TABLES = 2
ROWS = 2 * BATCH_ROWS + 1
#: What may stand outside of a transaction: it holds no strong lock, or not for long.
ALONE = re.compile(
    r"\s*(CREATE (UNIQUE )?INDEX CONCURRENTLY|DROP INDEX CONCURRENTLY|SELECT|WITH|UPDATE|INSERT"
    r"|(RE)?SET lock_timeout|ALTER TABLE \S+ VALIDATE CONSTRAINT)\b"
)
#: Rows for every table: whether a migration reads a table that is empty cannot be seen.
FILL = f"""
    INSERT INTO people (id, email, email_key, name, links_version, created_at, updated_at, version)
        SELECT gen_random_uuid(), n || '@example.org', n || '@example.org', 'Ada', 0, now(),
            now(), 1 FROM generate_series(1, {ROWS}) AS n;
    INSERT INTO messages (id, person_id, template, data, recipient, state, due_at, lease,
            recorded_lease, attempts, failures, message_id, created_at, finished_at)
        SELECT gen_random_uuid(), id, 'welcome', '{{}}', email, 'sent', now(), 1, 1, 1, 0, id,
            now(), now() FROM people;
    INSERT INTO attempts (id, message_id, worker, started_at, finished_at, outcome, text)
        SELECT gen_random_uuid(), id, 'w', now(), now(), 'sent', '' FROM messages;
    INSERT INTO api_keys (id, name, prefix, digest, scopes, created_at)
        SELECT gen_random_uuid(), 'k', n, n, '[]', now() FROM generate_series(1, {ROWS}) AS n;
    INSERT INTO idempotency_keys (caller, route, key, fingerprint, created_at)
        SELECT 'c', 'r', n, n, now() FROM generate_series(1, {ROWS}) AS n;
    INSERT INTO proofs (nonce, used_at) SELECT n, now() FROM generate_series(1, {ROWS}) AS n;
"""
CONTRACTED = re.compile(r"contracts (\d{4}), released in \d+\.\d+")
#: Of each table: the locks this connection holds, and the rows it has read or written lately.
_LOOK = text("""
    SELECT s.relname AS name, ARRAY(
        SELECT l.mode FROM pg_locks AS l WHERE l.relation = s.relid AND l.pid = pg_backend_pid()
    ) AS modes, s.seq_tup_read + COALESCE(s.idx_tup_fetch, 0) + s.n_tup_ins + s.n_tup_upd
        + s.n_tup_del AS used
    FROM pg_stat_xact_user_tables AS s WHERE s.schemaname = current_schema()
""")
_LOOKING = "looking"


class InterruptedHere(Exception):
    """The migration was ended here."""


class _Witness:
    """Sees each statement of a migration, and what it has locked and read by then."""

    def __init__(self, rows: Mapping[str, Counter[str]], stop_after: int | None = None) -> None:
        self.breaches: list[str] = []
        self._rows = rows
        self._left = stop_after
        #: What was used before this transaction: the server counts from when it last told of it.
        self._used: dict[str, int] | None = None

    @contextmanager
    def watching(self, connection: Connection) -> Iterator[None]:
        """See what is done by this connection."""
        calls: dict[str, Callable[..., None]] = {
            "before_cursor_execute": self._begin,
            "after_cursor_execute": self._see,
            "commit": self._end,
            "rollback": self._end,
        }
        for name, call in calls.items():
            event.listen(connection, name, call)
        try:
            yield
        finally:
            for name, call in calls.items():
                event.remove(connection, name, call)

    def _end(self, _: Connection) -> None:
        self._used = None

    def _begin(self, connection: Connection, *_: Any) -> None:
        if self._used is None and not _is_alone(connection):
            self._used = {}  # the look that follows comes by here too
            self._used = {row.name: row.used for row in self._look(connection)}

    def _see(self, connection: Connection, _: Any, statement: str, *__: Any) -> None:
        if connection.info.get(_LOOKING):
            return
        if _is_alone(connection):
            if not ALONE.match(statement):
                self._note("it stands outside of a transaction", statement)
        else:
            self._judge(connection, statement)
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                raise InterruptedHere

    def _judge(self, connection: Connection, statement: str) -> None:
        if "lock_timeout" in statement:
            self._note("how long a lock is waited for is not its affair", statement)
        tables = [row for row in self._look(connection) if row.name in self._rows]
        locked = sorted(row.name for row in tables if set(row.modes) & set(STRONG))
        names = ", ".join(locked)
        if len(locked) > MOST_LOCKED_TABLES:
            self._note(f"{names} are locked at once", statement)
        for name in locked:
            if not self._rows[name]:
                self._note(
                    f"{name} is empty here: give it rows in tests/support/database/rule.py",
                    statement,
                )
        used_before = self._used or {}
        for row in tables:
            if locked and row.used > used_before.get(row.name, 0):
                what = f"rows of {row.name} are read or written while {names} is locked"
                self._note(what, statement)

    @staticmethod
    def _look(connection: Connection) -> Sequence[Any]:
        connection.info[_LOOKING] = True
        try:
            return connection.execute(_LOOK).all()
        finally:
            connection.info[_LOOKING] = False

    def _note(self, what: str, statement: str) -> None:
        self.breaches.append(f"blocks: {what}: {' '.join(statement.split())[:60]}")


def _is_alone(connection: Connection) -> bool:
    """Whether each statement is a transaction of its own."""
    return connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"


async def check(
    url: str, folder: Path, numbers: Iterable[str], rows: Mapping[str, str]
) -> dict[str, list[str]]:
    """Do these migrations of ``folder``, one after the other; the breaches of each.

    ``rows`` says, by a migration's number, how its new tables get rows for those that follow.
    """
    found = {}
    for number in numbers:
        found[number] = await run(url, partial(breaches, folder=folder, number=number))
        if number in rows:
            await run(url, partial(fill, statements=rows[number]))
    return found


def unexcused(
    found: Mapping[str, Sequence[str]], contracts: Mapping[str, str]
) -> dict[str, list[str]]:
    """What is left of breaches, less what those take away that are named in ``contracts``.

    By number: "contracts 0007, released in 0.2": an earlier migration, and where it was released.
    None may block.
    """
    left = {number: list(what) for number, what in found.items()}
    for number, reason in contracts.items():
        was = left.setdefault(number, [])
        left[number] = [what for what in was if not what.startswith("breaks: ")]
        expanded = CONTRACTED.fullmatch(reason)
        if expanded is None or not expanded[1] < number:
            left[number].append(f"its reason must be as {CONTRACTED.pattern!r}")
        if len(left[number]) == len(was):
            left[number].append("it takes nothing away, and needs no exemption")
    return {number: what for number, what in left.items() if what}


async def run(url: str, work: Callable[[Connection], Any]) -> Any:
    """Do something with a connection of one's own, as a migration has it."""
    database = DatabaseUrl.parse(url)
    engine = create_async_engine(
        database.url,
        poolclass=NullPool,
        connect_args=database.connect_args | {"server_settings": {"lock_timeout": "10000"}},
    )
    async with engine.connect() as connection:
        return await connection.run_sync(work)


def fill(connection: Connection, statements: str = FILL) -> None:
    """Put rows into every table, or do what else ``statements`` say."""
    for statement in statements.split(";\n"):
        connection.execute(text(statement))
    connection.commit()


def breaches(connection: Connection, folder: Path, number: str) -> list[str]:
    """Do migration ``number`` of ``folder``, and say where it breaks the rule."""
    before, rows = schema_of(connection), _generations(connection)
    connection.rollback()
    witness = _Witness(rows)
    with witness.watching(connection):
        upgrade(connection, number, folder=folder)
    after = schema_of(connection)
    found = [f"breaks: {what}" for what in missed(before, after)]
    found += [f"blocks: {what}" for what in unfinished(before, after)]
    found += [f"blocks: {what}" for what in _too_many(rows, _generations(connection))]
    if not found:
        found += [f"breaks: {what}" for what in _refused(connection, before)]
    connection.rollback()
    return list(dict.fromkeys(witness.breaches + found))


def interrupt(connection: Connection, folder: Path, number: str, after: int) -> bool:
    """End migration ``number`` after so many statements; False if it has no more of them."""
    witness = _Witness({}, after)
    try:
        with witness.watching(connection):
            upgrade(connection, number, folder=folder)
    except InterruptedHere:
        connection.rollback()
        return True
    return False


def shape(connection: Connection) -> tuple[object, ...]:
    """The schema, to be compared with another database's."""
    return schema_of(connection).shape


def _generations(connection: Connection) -> dict[str, Counter[str]]:
    """Of each table: how many of its rows each transaction has written last."""
    counts: dict[str, Counter[str]] = {}
    for table in schema_of(connection).files:
        rows = connection.execute(text(f"SELECT xmin::text, count(*) FROM {table} GROUP BY 1"))
        counts[table] = Counter({row[0]: row[1] for row in rows})
    return counts


def _too_many(before: dict[str, Counter[str]], after: dict[str, Counter[str]]) -> Iterator[str]:
    for table, old in before.items():
        new = after.get(table, Counter())
        most = max((n for xmin, n in new.items() if xmin not in old), default=0)
        if most > BATCH_ROWS:
            yield f"{most} rows of {table} are changed in one transaction"
        if table in after and new.total() < old.total():
            yield f"rows of {table} are gone"


def _refused(connection: Connection, before: Schema) -> Iterator[str]:
    """Whether the columns of before can be written alone, as the version before does it."""
    for table in before.files:
        names = sorted(name for of, name in before.columns if of == table)
        columns = ", ".join(f'"{name}"' for name in names)
        same = ", ".join(f'"{name}" = "{name}"' for name in names if name != "id")
        try:
            for statement in (
                f"CREATE TEMP TABLE one AS SELECT {columns} FROM {table} LIMIT 1",
                f"DELETE FROM {table} WHERE ctid = (SELECT ctid FROM {table} LIMIT 1)",
                f"INSERT INTO {table} ({columns}) SELECT {columns} FROM one",
                f"UPDATE {table} SET {same}",
            ):
                connection.execute(text(statement))
        except DBAPIError:
            yield f"what the version before writes to {table} is refused"
        connection.rollback()
