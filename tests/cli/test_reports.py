"""`reach reports read`: what Reach makes of an email, without a database."""

import json
from pathlib import Path

from docs.reference.cli import EXAMPLES
from tests.support.processes.answers import is_like
from tests.support.processes.commands import ReachProcess, run
from tests.support.processes.running import everything
from tests.support.root import ROOT

CORPUS = ROOT / "tests" / "reports" / "corpus"


def test_emails_are_read(tmp_path: Path) -> None:
    """A line for each verdict, and one for an email without any; nothing is made for it."""
    files = [str(CORPUS / f"{name}.eml") for name in ("postfix-several-1", "made-vacation")]
    data_dir = tmp_path / "data"
    own = {"REACH_DATA_DIR": str(data_dir)}
    code, output = run("reports", "read", *files, settings=None, **own)
    assert code == 0
    rows = [line.split("\t") for line in output.splitlines()]
    assert [row[1:5] for row in rows] == [
        ["dsn", "bounced", "sender", "blocked@example.net"],
        ["dsn", "bounced", "permanent", "unknown@example.net"],
        ["autoreply", "", "", ""],
    ]
    assert rows[1][6:9] == ["550", "5.1.1", "return-path token message-id other-id"]
    code, output = run("reports", "read", "--json", files[0], settings=None, **own)
    found = json.loads(output)
    assert code == 0
    assert is_like(found, EXAMPLES["reports read"][0])
    assert [one["category"] for one in found] == ["sender", "permanent"]
    assert not data_dir.exists()


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    """With 2, and before anything is written of the others."""
    command = ("reports", "read", str(CORPUS / "made-person.eml"), str(tmp_path))
    with ReachProcess(*command) as process:
        assert process.wait() == 2, everything(process)
        assert process.output == ""
        assert "cannot be read: Is a directory" in process.errors
        assert "Traceback" not in process.errors
