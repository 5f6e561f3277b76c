"""Kibana's query language, as much of it as our searches use, asked of lines in memory.

``and`` binds closer than ``or``; ``field : value``, ``field : *``, ``field : (a or b)``,
``field >= 500``. https://www.elastic.co/docs/explore-analyze/query-filter/languages/kql
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.support.telemetry.mapped import flat

Line = Mapping[str, Any]
Test = Callable[[Mapping[str, Any]], bool]

TOKEN = re.compile(r'\s*("[^"]*"|>=|<=|[()<>:]|[^\s()<>:"]+)')
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


class Query:
    """A query that was read; ``fields`` are those it names, with what it compares them to."""

    def __init__(self, text: str) -> None:
        """Read a query. Raises ValueError."""
        self.fields: list[tuple[str, str]] = []
        self._tokens = [found[1] for found in TOKEN.finditer(text)]
        if "".join(self._tokens) != re.sub(r"\s", "", text):
            raise ValueError(f"not understood: {text}")
        self._test = self._any() if self._tokens else _always
        if self._tokens:
            raise ValueError(f"too much in {text}: {self._tokens}")

    def finds(self, line: Line) -> bool:
        """Whether a line answers the query."""
        return self._test(dict(flat(line)))

    def among(self, lines: Sequence[Line]) -> list[Line]:
        """Give those lines that answer the query."""
        return [line for line in lines if self.finds(line)]

    def _take(self, *wanted: str) -> str:
        if not self._tokens or (wanted and self._tokens[0].lower() not in wanted):
            raise ValueError(f"expected {wanted or 'more'}, before {self._tokens}")
        return self._tokens.pop(0)

    def _next_is(self, word: str) -> bool:
        return bool(self._tokens) and self._tokens[0].lower() == word

    def _any(self) -> Test:
        tests = [self._all()]
        while self._next_is("or"):
            self._take("or")
            tests.append(self._all())
        return lambda fields: any(test(fields) for test in tests)

    def _all(self) -> Test:
        tests = [self._one()]
        while self._next_is("and"):
            self._take("and")
            tests.append(self._one())
        return lambda fields: all(test(fields) for test in tests)

    def _one(self) -> Test:
        if self._next_is("("):
            self._take("(")
            test = self._any()
            self._take(")")
            return test
        name = self._take()
        relation = self._take(":", *COMPARISONS)
        if relation != ":":
            limit, compare = int(self._take()), COMPARISONS[relation]
            self.fields.append((name, str(limit)))
            return lambda fields: name in fields and compare(fields[name], limit)
        values = self._values()
        self.fields += [(name, value) for value in values]
        return lambda fields: name in fields and _has_any(fields[name], values)

    def _values(self) -> list[str]:
        if not self._next_is("("):
            return [self._take().strip('"')]
        self._take("(")
        values = [self._take().strip('"')]
        while not self._next_is(")"):
            self._take("or")
            values.append(self._take().strip('"'))
        self._take(")")
        return values


def _always(_: Mapping[str, Any]) -> bool:
    return True


def _has_any(value: Any, wanted: Sequence[str]) -> bool:
    held = value if isinstance(value, list) else [value]
    return "*" in wanted or any(str(item) in wanted for item in held)
