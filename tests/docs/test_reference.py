"""The reference says what the source says, and no less."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.reference import cli, logs, metrics, settings
from docs.reference.__main__ import PAGES, home
from reach.settings import Settings
from reach.telemetry.events import EVENTS
from reach.telemetry.log_fields import ALWAYS, FIELDS
from reach.telemetry.metrics import LINES_DROPPED, REQUEST_SECONDS
from tests.support.root import ROOT


@pytest.mark.parametrize("name", PAGES)
def test_the_reference_is_up_to_date(name: str) -> None:
    """Else: make reference."""
    assert (home(name) / name).read_text(encoding="utf-8") == PAGES[name](), "run: make reference"


def test_every_setting_is_there_with_its_words_and_its_default() -> None:
    """In a section, and with an explanation that is not empty."""
    told = {field.name: field for field in settings.fields()}
    assert list(told) == list(Settings.model_fields)
    for field in told.values():
        assert field.words, f"REACH_{field.name.upper()} has no words"
        assert field.section, f"REACH_{field.name.upper()} is in no section"
    page = settings.written()
    assert "| `REACH_PORT` | `8000` |" in page
    assert "| `REACH_ALTCHA` | `off` |" in page
    assert re.search(r"\| `REACH_SECRET_KEY` \|  \| Signs .+ \|", page)


def test_every_metric_is_there() -> None:
    """With its labels, and a histogram with its buckets."""
    assert {REQUEST_SECONDS, LINES_DROPPED} < set(metrics.found())
    page = metrics.written()
    rows = re.findall(r"^\| `(reach_\w+)` \| (\w+) \| .* \| \S.* \|$", page, re.MULTILINE)
    assert len(rows) == len(metrics.found())
    assert ("reach_log_lines_dropped_total", "counter") in rows
    for name, kind in rows:
        assert kind != "histogram" or name in metrics.buckets()
    assert "`route`, `method`, `status`" in page


def test_every_event_and_every_field_is_there() -> None:
    """Under the names by which they are searched for."""
    page = logs.written()
    for message, event in EVENTS.items():
        assert f" | {message} | {event.level} | `{event.logger}` | {event.words} | " in page
    for field in (*ALWAYS, *FIELDS.values()):
        assert f"| `{field.name}` | {field.type} | {field.words} |" in page


def test_every_command_is_there_with_an_example_of_its_json() -> None:
    """Those that write any; what each writes is compared with it in ``tests/cli``."""
    page = cli.written()
    for path, command in cli.everything().items():
        name = " ".join(path)
        assert f"# `{' '.join(('reach', *path))}`\n\n" in page
        options = {option for param in command.params for option in param.opts}
        assert ("--json" in options) == (name in cli.EXAMPLES), name
        assert command.help, f"{name} has no help"
        assert all(param.help for param in command.params), f"an option of {name} has no help"


def test_it_is_written_by_a_command(tmp_path: Path) -> None:
    """Here elsewhere, so that what is not up to date stays so for the test above."""
    command = [sys.executable, "-m", "docs.reference", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert {file.name: file.read_text(encoding="utf-8") for file in tmp_path.iterdir()} == {
        name: page() for name, page in PAGES.items()
    }
