"""JSON and forms, read strictly: what two readers could read differently is refused."""

import json
import math
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

from reach.problems import BadRequest

MOST_LEVELS = 32
MOST_FIELDS = 50


def parse_json(body: bytes) -> Any:
    """Read one JSON value (RFC 8259), of at most 32 levels.

    Raises BadRequest for what is not UTF-8 or not JSON; NaN, Infinity and numbers too large
    to hold; a key given twice; lone surrogates and NUL, which no database stores; an object
    with more members than any of ours, which would only be work.
    """
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
    except UnicodeDecodeError:
        raise BadRequest("The body is not UTF-8.") from None
    except RecursionError:
        raise BadRequest(f"The body is nested deeper than {MOST_LEVELS} levels.") from None
    except json.JSONDecodeError as error:
        raise BadRequest(f"The body is not JSON: {error.msg} at {error.pos}.") from None
    except ValueError:  # a whole number of thousands of digits
        raise BadRequest("The body holds a number that is too large.") from None
    if isinstance(value, dict) and len(value) > MOST_FIELDS:
        raise BadRequest("The body has too many fields.")
    _check(value)
    return value


def parse_form(body: bytes) -> dict[str, str]:
    """Read ``application/x-www-form-urlencoded``.

    Raises BadRequest for what is not UTF-8, a field given twice, or too many fields.
    """
    try:
        pairs = parse_qsl(
            body.decode("utf-8"),  # browsers escape what is not ASCII; curl does not
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MOST_FIELDS,
        )
    except UnicodeDecodeError:
        raise BadRequest("The form is not UTF-8.") from None
    except ValueError:
        raise BadRequest("The form has too many fields.") from None
    return _unique(pairs)


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    pairs = list(pairs)
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadRequest("A key is given twice.")
    return found


def _no_constant(_: str) -> float:
    raise BadRequest("NaN and Infinity are not JSON.")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise BadRequest("The body holds a number that is too large.")
    return number


def _check(value: Any) -> None:
    """Look at every level and every string of a value."""
    level, levels = [value], 0
    while level:
        levels += 1
        if levels > MOST_LEVELS:
            raise BadRequest(f"The body is nested deeper than {MOST_LEVELS} levels.")
        below: list[Any] = []
        for item in level:
            if isinstance(item, str):
                _check_text(item)
            elif isinstance(item, dict):
                below += item.keys()
                below += item.values()
            elif isinstance(item, list):
                below += item
        level = below


def _check_text(text: str) -> None:
    if "\0" in text:
        raise BadRequest("The body holds the character NUL.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise BadRequest("The body holds half of a surrogate pair.") from None
