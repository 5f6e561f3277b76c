"""Lines that another process writes while the test reads them."""

import json
from collections.abc import Iterable
from typing import Any


def whole_lines(text: str) -> list[str]:
    """Split what was written so far; the last line may be half written, and counts once it ends."""
    return text[: text.rfind("\n") + 1].splitlines()


def json_lines(lines: Iterable[str]) -> list[dict[str, Any]]:
    """Read each line. Raises ValueError if one is no JSON."""
    return [json.loads(line) for line in lines]
