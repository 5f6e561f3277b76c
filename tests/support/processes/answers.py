"""What commands write with ``--json``: read, and compared with what the reference says."""

import json
from typing import Any

from docs.reference.cli import EXAMPLES
from reach.settings import Settings
from tests.support.processes.commands import run


def answer_of(*arguments: str, settings: Settings) -> Any:
    """Run a command with ``--json``; it does what it should, and answers as the reference says."""
    code, output = run(*arguments, "--json", settings=settings)
    assert code == 0
    answer = json.loads(output)
    name = next(name for name in EXAMPLES if name.split() == list(arguments[: len(name.split())]))
    assert any(is_like(answer, example) for example in EXAMPLES[name]), output
    return answer


def is_like(value: Any, example: Any) -> bool:
    """Whether JSON has the same names all through. Null stands for any value, where it may be."""
    if isinstance(example, dict) and isinstance(value, dict):
        has_same = value.keys() == example.keys()
        # What is told of an action is another thing for each, and there are many tables.
        return has_same and all(
            name in ("details", "rows") or is_like(part, example[name])
            for name, part in value.items()
        )
    if isinstance(example, list) and isinstance(value, list):
        return all(is_like(part, example[0]) for part in value)
    if value is None or example is None:
        return True
    numbers = (int, float)
    return isinstance(value, numbers if isinstance(example, numbers) else type(example))
