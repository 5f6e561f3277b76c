"""What a Postgres schema is made of, and what the version before misses after a migration."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

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
