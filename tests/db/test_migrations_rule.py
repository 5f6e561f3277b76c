"""Every migration after the first release keeps the rule of docs/guides/writing-a-migration.md."""

from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from textwrap import dedent, indent

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

from reach.db.migrate import upgrade
from reach.db.schema import VERSIONS, names
from tests.support.database import rule
from tests.support.database.databases import create_database, drop_database, elsewhere
from tests.support.database.releases import NEXT, migrations_with

#: Those before are the first release's: nobody ran a version without them.
FIRST_RELEASE = "0009"
#: Migrations that take away what no version which still runs has need of, each with its reason:
#: "contracts 0007, released in 0.2".
CONTRACTS: dict[str, str] = {}
#: By a migration's number: INSERTs that give its new tables rows, so that those that follow are
#: seen to leave them alone.
ROWS: dict[str, str] = {
    "0011": "INSERT INTO address_changes (person_id, email, email_key, number, created_at, ends_at)"
    " SELECT id, 'n', 'n', 1, now(), now() FROM people;\n"
    "INSERT INTO recipient_budgets (recipient, sent, last_at) VALUES ('r', '[1]', now())",
    "0012": "INSERT INTO notices (address, told, told_at, unnamed_since) "
    "VALUES ('maker@example.org', '{}', now(), now())",
    "0013": "INSERT INTO audit (id, at, actor_kind, actor, via, action, count, details) "
    "SELECT id, now(), 'key', 'k', 'api', 'person.add', 1, '{}' FROM people",
    "0014": "INSERT INTO consent_wordings (id, text, created_at) VALUES ('a', 'Sign up', now())",
    "0015": "INSERT INTO search_blocks (number, last_id, ids) "
    "SELECT 0, id, '' FROM people LIMIT 1;\n"
    "INSERT INTO search_grams (gram, block, people) VALUES ('ada', 0, '');\n"
    "INSERT INTO search_changed (person_id) SELECT id FROM people",
    "0016": "INSERT INTO sessions (id, digest, actor_kind, actor, scopes, created_at, expires_at, "
    "seen_at) SELECT id, 'd', 'oidc', 'o', '[]', now(), now(), now() FROM people LIMIT 1",
    "0017": "INSERT INTO open_breakers (worker, opened_at, fresh_until) VALUES ('w', now(), now())",
    "0021": "INSERT INTO webhooks (id, url, name, types, secret, created_at, failures) "
    "SELECT id, 'u', 'n', '*', 's', now(), 0 FROM people LIMIT 1;\n"
    "INSERT INTO webhook_events (webhook_id, id, type, details, state, due_at, lease, "
    "recorded_lease, attempts, failures, created_at) "
    "SELECT id, id, 't', '{}', 'waiting', now(), 0, 0, 0, 0, now() FROM webhooks;\n"
    "INSERT INTO webhook_attempts (id, webhook_id, event_id, started_at, milliseconds, outcome, "
    "answer) SELECT id, id, id, now(), 1, 'delivered', '' FROM webhooks",
    "0019": "INSERT INTO reports (message_id, kind, source, text, reported_at) "
    "SELECT id, 'delayed', 'dsn', '', now() FROM messages LIMIT 1;\n"
    "INSERT INTO suppressions (id, email_key, cause, text, created_at, updated_at) "
    "SELECT id, email_key, 'operator', '', now(), now() FROM people LIMIT 1",
}
OURS = [name[:4] for name in names() if name[:4] > FIRST_RELEASE]

NEXT_ROWS = {
    "0101": "INSERT INTO notes (id, person_id, text, created_at) "
    "SELECT id, id, 'n', now() FROM people"
}
NEXT_NUMBERS = ("0101", "0102", "0103")
ADA = (
    "INSERT INTO people (id, email, email_key, name, links_version, created_at, updated_at, "
    "version) VALUES ('a', 'a', 'a', 'Ada', 0, 0, 0, 1)"
)
SAMPLE = """
import sqlalchemy as sa
from alembic import op
from reach.db.migrations import steps

from reach.db.schema import names

revision = "0101"
down_revision = max(name[:4] for name in names() if name[:4] < revision)

def upgrade():
"""
#: What a migration does, and what is said of it.
BAD = {
    "drops a column": (
        "op.drop_column('people', 'description')",
        "breaks: column people.description is gone",
    ),
    "renames a column": (
        "op.alter_column('people', 'name', new_column_name='display_name')",
        "breaks: column people.name is gone",
    ),
    "drops a table": ("op.drop_table('proofs')", "breaks: table proofs is gone"),
    "renames a table": ("op.rename_table('proofs', 'works')", "breaks: table proofs is gone"),
    "changes a type": (
        "op.alter_column('messages', 'attempts', type_=sa.BigInteger)",
        "breaks: column messages.attempts has another type",
        "blocks: table messages is rewritten",
        "blocks: rows of messages are read or written while messages is locked",
    ),
    "needs a column": (
        """
        op.add_column("people", sa.Column("age", sa.Integer, server_default="1", nullable=False))
        op.alter_column("people", "age", server_default=None)
        """,
        "breaks: column people.age is needed, and the version before does not give it",
    ),
    "needs an old column": (
        """
        op.execute("UPDATE api_keys SET expires_at = now() WHERE name = '1'")
        op.execute("DELETE FROM api_keys WHERE expires_at IS NULL")
        op.alter_column("api_keys", "expires_at", nullable=False)
        """,
        "breaks: column api_keys.expires_at may be NULL no longer",
        "blocks: rows of api_keys are gone",
    ),
    "drops a default": (
        "op.execute('ALTER TABLE counters ALTER COLUMN id DROP IDENTITY')",
        "breaks: column counters.id has no default any more",
    ),
    "gives each row a default of its own": (
        "op.execute('ALTER TABLE people ADD COLUMN code uuid DEFAULT gen_random_uuid()')",
        "blocks: table people is rewritten",
    ),
    "builds an index under a lock": (
        "op.create_index('i', 'people', ['name'])",
        "blocks: rows of people are read or written while people is locked",
    ),
    "builds an index alone, but not concurrently": (
        """
        with op.get_context().autocommit_block():
            op.create_index("i", "people", ["name"])
        """,
        "blocks: it stands outside of a transaction",
    ),
    "drops an index": (
        "steps.drop_index('ix_messages_due', 'messages')",
        "breaks: index ix_messages_due is gone",
    ),
    "makes unique what was not": (
        "steps.add_index('i', 'attempts', ['message_id'], unique=True)",
        "breaks: unique index i may refuse what the version before writes",
    ),
    "constrains with a scan": (
        "op.create_check_constraint('c', 'people', 'version > 0')",
        "may refuse what the version before writes",
        "blocks: rows of people are read or written while people is locked",
    ),
    "validates at once": (
        """
        op.add_column("people", sa.Column("age", sa.Integer))
        op.execute("ALTER TABLE people ADD CONSTRAINT c CHECK (age > 0) NOT VALID")
        op.execute("ALTER TABLE people VALIDATE CONSTRAINT c")
        """,
        "blocks: rows of people are read or written while people is locked: ALTER TABLE people VA",
    ),
    "fills at once": (
        "op.execute(\"UPDATE people SET description = '' WHERE description IS NULL\")",
        "blocks: 1001 rows of people are changed in one transaction",
    ),
    "fills under a lock": (
        """
        op.add_column("people", sa.Column("age", sa.Integer))
        op.execute("UPDATE people SET age = 1 WHERE email_key = '1@example.org'")
        """,
        "blocks: rows of people are read or written while people is locked: UPDATE people",
    ),
    "locks too much": (
        "op.execute('LOCK TABLE people, messages, attempts IN SHARE MODE')",
        "blocks: attempts, messages, people are locked at once",
    ),
    "waits for ever": (
        "op.execute('SET lock_timeout = 0')",
        "blocks: how long a lock is waited for is not its affair",
    ),
    "refuses what is written": (
        """
        op.execute(
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'no'; END $$"
        )
        op.execute(
            "CREATE TRIGGER t BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION f()"
        )
        """,
        "breaks: what the version before writes to people is refused",
    ),
}


@pytest.fixture(scope="module")
def released(postgres_url: str) -> Iterator[str]:
    """A database of the first release, with rows in all its tables, to be copied."""
    url = create_database(postgres_url)
    elsewhere(rule.run(url, partial(upgrade, to=FIRST_RELEASE)))
    elsewhere(rule.run(url, rule.fill))
    yield url
    drop_database(postgres_url, url)


@pytest.fixture
def url(postgres_url: str, released: str) -> Iterator[str]:
    """A copy of it."""
    copy = create_database(postgres_url, released)
    yield copy
    drop_database(postgres_url, copy)


def sample(folder: Path, body: str) -> Path:
    """Write a migration, beside ours."""
    file = folder / "0101_sample.py"
    file.write_text(SAMPLE + indent(dedent(body), "    "))
    return migrations_with(folder, file)


async def test_our_migrations_keep_the_rule(url: str) -> None:
    """None takes away what the version before has need of, or has requests wait."""
    found = await rule.check(url, VERSIONS.parent, OURS, ROWS)
    assert rule.unexcused(found, CONTRACTS) == {}


async def test_what_the_rule_allows(url: str, tmp_path: Path) -> None:
    """A release that adds, keeps two forms in step, fills, validates and indexes keeps it."""
    folder = migrations_with(tmp_path, NEXT)
    found = await rule.check(url, folder, [*OURS, *NEXT_NUMBERS], ROWS | NEXT_ROWS)
    assert [found[number] for number in NEXT_NUMBERS] == [[], [], []]


@pytest.mark.parametrize("name", BAD)
async def test_what_the_rule_forbids(url: str, tmp_path: Path, name: str) -> None:
    """Each is told, in words that say what is wrong."""
    body, *words = BAD[name]
    every = await rule.check(url, sample(tmp_path, body), [*OURS, "0101"], ROWS)
    found = every["0101"]
    assert [word for word in words if word not in "\n".join(found)] == [], found


async def test_a_table_of_which_nothing_can_be_told(url: str, tmp_path: Path) -> None:
    """Whether an empty table is read cannot be seen, so the check asks for rows."""
    folder = migrations_with(tmp_path, NEXT)
    found = await rule.check(url, folder, [*OURS, *NEXT_NUMBERS], ROWS)
    assert "notes is empty here" in "\n".join(found["0102"])


def test_contracting_needs_a_reason() -> None:
    """What an older release has made needless may go, if that is said; nothing may block."""
    drops, blocks = "breaks: column people.name is gone", "blocks: table people is rewritten"
    found = {"0009": [drops, blocks], "0010": [blocks]}
    assert rule.unexcused(found, {}) == found
    reason = "contracts 0007, released in 0.2"
    assert rule.unexcused(found, {"0009": reason}) == {"0009": [blocks], "0010": [blocks]}
    assert rule.unexcused({"0009": [drops]}, {"0009": reason}) == {}
    assert "its reason" in str(rule.unexcused({"0009": [drops]}, {"0009": "old"}))
    assert "its reason" in str(rule.unexcused({"0007": [drops]}, {"0007": reason}))
    assert "no exemption" in str(rule.unexcused({"0010": [blocks]}, {"0010": reason}))


def test_steps_on_sqlite(sqlite: str, tmp_path: Path) -> None:
    """There the same migration is one transaction: filled, indexed, or nothing of it."""
    body = """
    op.add_column("people", sa.Column("display_name", sa.Text))
    steps.fill("people", {"display_name": "name"}, "display_name IS NULL")
    steps.validate("ck_people_display_name", "people")
    steps.add_index("ix_people_display_name", "people", ["display_name"], where="name <> ''")
    op.execute("DROP TABLE DROPPED")
    """
    engine = create_engine(sqlite)
    made = "SELECT sql FROM sqlite_schema WHERE name = 'ix_people_display_name'"
    for number, (dropped, ends_well) in enumerate([("nothing", False), ("proofs", True)]):
        (tmp_path / str(number)).mkdir()
        folder = sample(tmp_path / str(number), body.replace("DROPPED", dropped))
        expected = nullcontext() if ends_well else pytest.raises(OperationalError)
        with expected, engine.begin() as connection:
            connection.exec_driver_sql(ADA)
            upgrade(connection, "0101", folder=folder)
        with engine.begin() as connection:
            assert (connection.exec_driver_sql(made).scalar() is not None) == ends_well
            people = connection.exec_driver_sql("SELECT * FROM people").mappings().all()
            assert [one["display_name"] for one in people] == ["Ada"] * ends_well
    engine.dispose()


async def test_steps_can_be_interrupted_anywhere(
    url: str, postgres_url: str, tmp_path: Path
) -> None:
    """Ended after any of its statements, a migration that commits midway is done by the next."""
    folder = migrations_with(tmp_path, NEXT)
    await rule.run(url, partial(upgrade, to="0102", folder=folder))
    whole: tuple[object, ...] = ()
    after = 0
    while True:
        copy = create_database(postgres_url, url)
        after += 1
        goes_on = await rule.run(
            copy, partial(rule.interrupt, folder=folder, number="0103", after=after)
        )
        await rule.run(copy, partial(upgrade, to="0103", folder=folder))
        shape = await rule.run(copy, rule.shape)
        drop_database(postgres_url, copy)
        whole = whole or shape
        assert shape == whole, after
        if not goes_on:
            break
    assert after > 10
