#!/usr/bin/env bash
# promql-parser: the text of a parsed expression is no PromQL where a label's value has a backslash.
#
# Guess (written down first): str() of what parse() gave is an expression that means the same, as Prometheus's own
# String() is, so that a selector may be taken out of a rule and asked for by itself.
# Seen: str() writes the value without the backslashes that its quotes need, and parse() refuses that text;
# prettify() writes them. Of values without a backslash both are right.
#
# Matters to: tools that take rules apart (ours looks up each selector of an alert by itself).
# Needs: python3 (3.11 or later) with venv, and a package index.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check promql-parser==0.12.0
cat >"$folder/look.py" <<'PYTHON'
import sys
from importlib.metadata import version

from promql_parser import parse

QUERIES = {"without": 'up{job="api"}', "with": r'up{instance=~"127\\.0\\.0\\.1:.+"}'}
SEEN = {
    ("without", "str"): True,
    ("without", "prettify"): True,
    ("with", "str"): False,
    ("with", "prettify"): True,
}


def can_be_read(text):
    try:
        parse(text)
    except ValueError:
        return False
    return True


found = {}
for name, query in QUERIES.items():
    expression = parse(query)
    found[name, "str"] = can_be_read(str(expression))
    found[name, "prettify"] = can_be_read(expression.prettify())
print(f"promql-parser {version('promql-parser')}")
print("expected: all of them can be read again")
for (name, how), can in found.items():
    print(f"seen: {name} a backslash, by {how}(): {'can be read' if can else 'cannot be read'}")
sys.exit(found != SEEN)
PYTHON
"$folder/venv/bin/python" "$folder/look.py"
