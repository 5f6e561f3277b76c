"""Some 500 requests, good and hostile, are answered byte for byte as they were recorded.

But for what is listed in ``exchanges.VARYING``. ``python -m tests.support.corpus`` records what is
answered now, where an answer is to be another.
"""

import difflib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reach.settings import Settings
from tests.support.corpus.asking import asked
from tests.support.corpus.exchanges import FOLDER, VARYING, read
from tests.support.processes.ports import free_port

FILES = sorted(FOLDER.glob("*.json"))
#: So many of the answers that differ are shown.
MOST_SHOWN = 5


def differences(recorded: list[dict[str, Any]], now: list[dict[str, Any]]) -> Iterator[str]:
    """Show each exchange that is answered, or logged, otherwise than it was."""
    for was, found in zip(recorded, now, strict=True):
        if was != found:
            lines = difflib.unified_diff(_lines(was), _lines(found), "recorded", "now", n=2)
            yield "\n".join((f"{was['what']}:", *(line.rstrip("\n") for line in lines)))


def _lines(exchange: dict[str, Any]) -> list[str]:
    answers = [line for answer in exchange["answers"] for line in ["-- an answer", *answer]]
    return [*answers, "-- the log", *exchange["log"]]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.stem))
async def test_answers_are_as_they_were(
    file: Path, make_settings: Callable[..., Settings], database_url: str
) -> None:
    """The status line, every header in its order and spelling, the body, and the log's lines."""
    corpus = read(file)
    settings = make_settings(database_url=database_url, port=free_port())
    found = list(differences(corpus["exchanges"], await asked(settings, corpus)))
    assert not found, f"{len(found)} differ:\n\n" + "\n\n".join(found[:MOST_SHOWN])


def test_there_are_many() -> None:
    """A file that is lost, or read as empty, would be missed by nobody."""
    requests = [one for file in FILES for made in read(file)["exchanges"] for one in made["send"]]
    assert len(requests) > 500


def test_nothing_is_replaced_in_vain() -> None:
    """A rule that fits no answer would hide, one day, what it was not made for."""
    written = "".join(file.read_text(encoding="utf-8") for file in FILES)
    names = {name.replace("-N>", "-1>") for _, name in VARYING}
    assert {name for name in names if name not in written} == set()


def test_a_difference_is_shown() -> None:
    """A comparison that finds nothing would pass on anything: one letter's case is enough."""
    made = read(FILES[0])["exchanges"][0]
    answers = [[line.replace("content-type:", "Content-Type:") for line in made["answers"][0]]]
    (shown,) = differences([made], [{**made, "answers": answers}])
    assert "+Content-Type: application/json" in shown
    assert list(differences([made], [made])) == []
