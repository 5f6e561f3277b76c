"""JSON into dataclasses.

What a newer server says besides is passed over, and its new words stay text.
"""

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import date, datetime
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from reach_client.problems import UnexpectedAnswer

T = TypeVar("T")

#: Marks a field that is no member of the body: it is read from the answer's header of this name.
HEADER = "header"
_FROM_TEXT: Mapping[Any, Callable[[str], Any]] = {
    UUID: UUID,
    date: date.fromisoformat,
    datetime: datetime.fromisoformat,
}


def decode(kind: type[T], found: object, headers: Mapping[str, str] | None = None) -> T:
    """Make a ``kind``, a dataclass, of a JSON object and its headers. Raises UnexpectedAnswer."""
    if not isinstance(found, dict):
        raise UnexpectedAnswer(f"{kind.__name__}: no JSON object")
    given: dict[str, Any] = {}
    hints = _hints(kind)  # type: ignore[arg-type]
    for one in fields(kind):  # type: ignore[arg-type]
        if name := one.metadata.get(HEADER):
            given[one.name] = (headers or {}).get(name)
        elif one.name in found:
            given[one.name] = _value(
                hints[one.name], found[one.name], f"{kind.__name__}.{one.name}"
            )
        elif one.default is MISSING and one.default_factory is MISSING:
            raise UnexpectedAnswer(f"{kind.__name__}.{one.name}: missing")
    return kind(**given)


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _value(hint: Any, found: Any, where: str) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return None if found is None else _value(inner[0], found, where)
    if origin is tuple:
        return tuple(_value(inner[0], one, where) for one in _checked(list, found, where))
    if origin is Mapping:
        return _checked(dict, found, where)
    if origin is Literal:
        return _checked(str, found, where)
    if is_dataclass(hint):
        return decode(hint, found)  # type: ignore[arg-type]
    return _scalar(hint, found, where)


def _scalar(hint: Any, found: Any, where: str) -> Any:
    if hint in _FROM_TEXT:
        try:
            return _FROM_TEXT[hint](_checked(str, found, where))
        except ValueError:
            raise UnexpectedAnswer(f"{where}: no {hint.__name__}") from None
    if hint is float:
        return float(_checked((int, float), found, where))
    return _checked(hint, found, where)


def _checked(kind: Any, found: Any, where: str) -> Any:
    """Give what was found if it is of that kind. What it is instead may be private: not told."""
    if not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool):
        raise UnexpectedAnswer(f"{where}: of another type than expected")
    return found
