"""What an event says, as receivers read it."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson

from reach.webhooks.queue import Due


def body_of(due: Due) -> bytes:
    """Write an event as Standard Webhooks has it: ``type``, ``timestamp`` and ``data``.

    A person is as they are now, whatever they were when it happened; of who was erased there is the
    id alone, and that they were.
    """
    data: dict[str, Any] = {}
    if due.person_id is not None:
        data["person"] = _person(due)
    if due.message_id is not None:
        data["message"] = {"id": str(due.message_id), **due.details}
    elif due.details:
        data |= due.details
    return orjson.dumps({"type": due.type, "timestamp": _iso(due.created_at), "data": data})


def _person(due: Due) -> dict[str, Any]:
    if due.person is None:
        return {"id": str(due.person_id), "is_erased": True}
    told = {name: _plain(value) for name, value in due.person.items()}
    return {"id": str(due.person_id), "is_erased": False, **told}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return _iso(value)
    return str(value) if isinstance(value, UUID) else value


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
