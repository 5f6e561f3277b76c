"""The plans of statements, as the databases explain them, and which steps of them cost little."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event

PLANNED = ("SELECT", "WITH", "UPDATE", "INSERT", "DELETE")
#: SQLite's words for what is no table of ours: the rows that a statement is given, or has found.
#: Or of a table that has a row for each of a maker's addresses.
GIVEN = (
    "SCAN each ",
    "SCAN notices",
    "all of pk_notices",
    "Seq Scan notices",
    # And one for each webhook, of which there are twenty at most.
    "SCAN webhooks",
    "all of pk_webhooks",
    "Seq Scan webhooks",
    # A row for 4,096 people, and those who have changed of late.
    "SCAN search_blocks",
    "all of pk_search_blocks",
    "SCAN search_changed",
    "SCAN due",
    "SCAN chosen",
    "SCAN older",
    "SCAN late",
    "SCAN CONSTANT ROW",
)
#: By what operators find messages.
#: Indexes of which one value may stand for a million rows: good for a page of a list, no more.
#: (Postgres knows that by itself; SQLite was told by migration 0008.)
LISTS = ("ix_messages_state", "ix_messages_template")
LISTED = ("ORDER BY messages.id", "ORDER BY messages.state DESC, messages.id DESC LIMIT")
#: On Postgres, what goes through the newest by their ids, until there are enough of one template,
#: or action: it does so only with one that many have.
OFTEN = {
    "all of pk_messages": "WHERE messages.template = $1::VARCHAR ORDER BY messages.id DESC LIMIT",
    "all of pk_audit": "WHERE audit.action = $1::VARCHAR ORDER BY audit.id DESC LIMIT",
}
#: Steps that sort all that the steps below them find.
SORTS = ("Sort", "Incremental Sort", "USE TEMP B-TREE")
#: What may be sorted, by a part of its statement.
SORTED = (
    # What was given, or found by one index look-up for each of what was given.
    "json_each(?)",
    "jsonb_to_recordset(",
    # What is stored of one person, or asked for by one address.
    ".person_id = ?",
    ".person_id = $1",
    "link_requests.email_key = ",
    # A page, and by the beginning of an address: all whose address begins so (no index has both
    # orders), or all down to the page's end, whichever Postgres takes to be less.
    "WHERE people.id IN (SELECT people.id FROM people ",
    # A part of the people, chosen in this order: few enough for a page.
    "AS chosen ORDER BY chosen.",
    " AS chosen WHERE ",
    # The attempts of a page of events.
    "webhook_attempts.event_id IN (",
    # The counts of 90 days, by hour, are added up.
    "AS hours GROUP BY hours.day",
    # An operator has what waits for its next try tried at once: it is read once, by when it is due.
    "NOT (messages.lease > messages.recorded_lease AND messages.due_at > ",
)
#: The newest people, or the oldest requests, first, by their ids, until there are enough.
BY_ID = (
    "SCAN people USING INDEX sqlite_autoindex_people_1",
    "SCAN people USING INDEX uq_people_email_key",
    "SCAN people USING COVERING INDEX sqlite_autoindex_people_1",
    "SCAN people USING INDEX ix_people_confirmed",
    "SCAN people USING INDEX ix_people_unconfirmed",
    "SCAN messages USING INDEX sqlite_autoindex_messages_1",
    "SCAN audit USING INDEX sqlite_autoindex_audit_1",
    "SCAN link_requests USING INDEX sqlite_autoindex_link_requests_1",
    "SCAN link_requests USING COVERING INDEX sqlite_autoindex_link_requests_1",
)


def is_cheap(statement: str, step: str) -> bool:
    """Whether a step of a statement's plan costs the same whatever a table's size."""
    if step.startswith((*GIVEN, *BY_ID)):
        return True
    statement = " ".join(statement.split())
    if step.startswith(SORTS):
        return any(part in statement for part in SORTED)
    if step in OFTEN:
        return OFTEN[step] in statement
    if step.startswith("SEARCH ") and any(index in step for index in LISTS):
        return any(order in statement for order in LISTED)
    return not step.startswith(("SCAN ", "Seq Scan", "all of "))


@contextmanager
def explained() -> Iterator[dict[str, list[str]]]:
    """Note the plan of every statement that is executed meanwhile, by its text."""
    plans: dict[str, list[str]] = {}

    def explain(
        _: Any, cursor: Any, statement: str, parameters: Any, context: Any, *__: Any
    ) -> None:
        if not statement.startswith(PLANNED):
            return
        if context.dialect.name == "sqlite":
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans[statement] = [row[3] for row in cursor.fetchall()]
        else:
            cursor.execute(f"EXPLAIN (FORMAT JSON) {statement}", parameters)
            plans[statement] = list(steps_of(cursor.fetchone()[0][0]["Plan"]))

    listener: Callable[..., None] = explain
    event.listen(Engine, "before_cursor_execute", listener)
    try:
        yield plans
    finally:
        event.remove(Engine, "before_cursor_execute", listener)


def steps_of(node: Any, *, is_ended: bool = False) -> Iterator[str]:
    """Name the steps of a Postgres plan. ``is_ended``: a LIMIT above ends it before the table."""
    kind = node["Node Type"]
    if "Index" in kind and "Index Cond" not in node and not (is_ended and "Filter" not in node):
        yield f"all of {node['Index Name']}"
    yield f"{kind} {node.get('Index Name', node.get('Relation Name', ''))}"
    is_ended = kind == "Limit" or (is_ended and kind not in SORTS)
    for inner in node.get("Plans", ()):
        yield from steps_of(inner, is_ended=is_ended)
