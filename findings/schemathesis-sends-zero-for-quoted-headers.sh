#!/usr/bin/env bash
# Schemathesis: a header whose pattern needs a character that is no letter or digit (an ETag's quotes) is
# sent as "0" by the coverage phase, and the request is taken for one that must be accepted.
#
# Guess (what our tests were written by; put into words only afterwards): a request that counts as valid
# has headers that fit their pattern; where none can be made, the parameter's example is sent, or none.
# Seen: with both modes on, If-Match is "0", the request "positive"; the example is passed over. With a
# format of its own, for which a strategy is registered, the values fit.
#
# Matters to: whoever documents If-Match, If-None-Match, Range or a quoted key by a pattern.
# Needs: python3 (3.11 or later) with venv, and a package index.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  schemathesis==4.32.5 hypothesis==6.170.17 jsonschema-rs==0.60.3
cat >"$folder/look.py" <<'PYTHON'
import re, sys
from importlib.metadata import version

import schemathesis
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.coverage._operation import iter_coverage_cases

PATTERN = '^(?:[*]|"[!#-~]*")$'
GUESS, SEEN = {"plain": True, "own format": True}, {"plain": False, "own format": True}


def fits(**more):
    """Whether all the values of requests that count as valid fit the pattern."""
    schema = {"type": "string", "pattern": PATTERN, **more}
    header = {"name": "If-Match", "in": "header", "schema": schema, "example": '"3"'}
    responses = {"200": {"description": "ok"}}
    document = {
        "openapi": "3.1.0",
        "info": {"title": "x", "version": "1"},
        "paths": {"/x": {"get": {"parameters": [header], "responses": responses}}},
    }
    loaded = schemathesis.openapi.from_dict(document)
    cases = iter_coverage_cases(
        operation=loaded["/x"]["GET"],
        generation_modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE],
        generate_duplicate_query_parameters=False,
        unexpected_methods=set(),
        generation_config=loaded.config.generation,
    )
    good = [case for case in cases if case.meta.generation.mode.is_positive]
    values = {case.headers["If-Match"] for case in good if "If-Match" in case.headers}
    print(more or "plain", sorted(values))
    return bool(values) and all(re.search(PATTERN, value) for value in values)


print("schemathesis", version("schemathesis"), "hypothesis", version("hypothesis"))
schemathesis.openapi.format("etag", st.from_regex(PATTERN, fullmatch=True, alphabet=st.characters(codec="ascii")))
seen = {"plain": fits(), "own format": fits(format="etag")}
print("guess", GUESS)
print("seen ", seen)
sys.exit(seen != SEEN)
PYTHON
"$folder/venv/bin/python" "$folder/look.py"
