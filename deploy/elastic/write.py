"""Writes what import.sh imports, beside itself or into the folder that it is given."""

import json
import sys
from pathlib import Path

from kibana import compact, saved_objects
from templates import index_template, lifecycle_policy


def written() -> dict[str, str]:
    """Every generated file, by name."""
    return {
        "ilm-policy.json": json.dumps(lifecycle_policy(), indent=2) + "\n",
        "index-template.json": json.dumps(index_template(), indent=2) + "\n",
        "kibana.ndjson": "".join(f"{compact(saved)}\n" for saved in saved_objects()),
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parent
    for name, text in written().items():
        (folder / name).write_text(text, encoding="utf-8")
