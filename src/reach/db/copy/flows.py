"""The counters of a copy: levels by its own triggers, flows as the source has them.

Each row that is added adds to the target's counters, as always: so the levels are right, and are
compared with what there is. A flow is what happened in an hour, of which rows do not tell all
(deliveries; sign-ups of who has left): they are the source's, in place of what the triggers made.
"""

from collections.abc import Mapping

from reach.db.copy.rows import Row, Shape
from reach.db.copy.side import CannotCopy, Side

SHAPE = Shape("counters", ("name", "hour", "count"), ("text", "time", "number"), ("hour", "name"))


async def copy(source: Side, target: Side) -> None:
    """Take the source's flows, in the caller's transaction. Raises CannotCopy."""
    found = await _flows(source)
    await target.execute(f"DELETE FROM counters AS t WHERE {_hour(target)} > 0")  # noqa: S608 - ours
    await target.add(SHAPE, found)
    if await _flows(target) != found or await _levels(target) != await _counted(target):
        raise CannotCopy("The target's counters are not what they should be.")


async def _flows(side: Side) -> list[Row]:
    return await side.fetch(
        f"SELECT t.name, {_hour(side)}, CAST(sum(t.count) AS bigint) FROM counters AS t "  # noqa: S608
        f"WHERE {_hour(side)} > 0 GROUP BY 1, 2 HAVING sum(t.count) <> 0 ORDER BY 2, 1"
    )


async def _levels(side: Side) -> Mapping[object, object]:
    found = await side.fetch(
        "SELECT t.name, CAST(sum(t.count) AS bigint) FROM counters AS t "  # noqa: S608 - ours
        f"WHERE {_hour(side)} = 0 GROUP BY 1 HAVING sum(t.count) <> 0"
    )
    return dict(found)  # type: ignore[arg-type]  # of two each


async def _counted(side: Side) -> Mapping[object, object]:
    people = "SELECT '{}', count({}) FROM people WHERE email <> ''"
    messages = "SELECT state, count(*) FROM messages WHERE recipient <> '' GROUP BY state"
    each = (people.format("people", "*"), people.format("confirmed", "confirmed_at"), messages)
    found = await side.fetch(" UNION ALL ".join(each))
    return {name: count for name, count in found if count}


def _hour(side: Side) -> str:
    return side.read_as("hour", "time")
