"""`reach messages preview`: an email as it will look, without a database."""

from email import message_from_string
from pathlib import Path

import pytest

from tests.support.processes.commands import ReachProcess, run
from tests.support.processes.running import everything


def previewed(folder: Path, *arguments: str, **environment: str) -> str:
    """Show a preview; nothing is made for it."""
    data_dir = folder / "data"
    environment["REACH_DATA_DIR"] = str(data_dir)
    code, output = run("messages", "preview", *arguments, settings=None, **environment)
    assert code == 0
    assert not data_dir.exists()
    return output


@pytest.mark.parametrize(
    ("form", "beginning"),
    [
        ("html", '<!DOCTYPE html><html lang="en"'),
        ("text", "Welcome, Sample Name\n\n"),
        ("subject", "Welcome to Acme, Sample Name\n"),
        ("source", "Message-ID: <"),
    ],
)
def test_an_email_is_shown(tmp_path: Path, form: str, beginning: str) -> None:
    """With the brand of the settings, sample data, and links that open nothing."""
    output = previewed(tmp_path, "welcome", "--format", form, REACH_BRAND_NAME="Acme")
    assert output.startswith(beginning)
    assert "Acme" in output
    assert form == "subject" or "this-link-is-a-sample" in output
    if form == "source":
        assert message_from_string(output)["Content-Language"] == "en"


def test_it_is_shown_in_a_language_and_written_to_a_file(tmp_path: Path) -> None:
    """HTML by default, whole; stdout stays empty."""
    file = tmp_path / "welcome.html"
    assert previewed(tmp_path, "welcome", "--lang", "de", "--output", str(file)) == ""
    written = file.read_text(encoding="utf-8")
    assert written.startswith('<!DOCTYPE html><html lang="de"')
    assert written.rstrip().endswith("</html>")


def test_a_template_of_ones_own_is_shown(tmp_path: Path) -> None:
    """Data that nobody knows has a stand-in."""
    for kind in ("subject", "txt", "html"):
        (tmp_path / f"party.{kind}").write_text("In {{ place }}")
    own = {"REACH_TEMPLATES_DIR": str(tmp_path)}
    assert previewed(tmp_path, "party", "--format", "text", **own) == "In sample\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("welcom", 2, "No such template. Templates are: address-change, address-changed, "),
        ("../welcome", 2, "No such template."),
        ("welcome --lang nl", 2, "No such language. Languages are: en, de, fr, es"),
        ("welcome --format pdf", 2, "pdf"),
        ("changed --output /nowhere/x.html", 1, "/nowhere/x.html cannot be written"),
        ("broken", 1, "broken.html, line 1: there is no such link"),
    ],
)
def test_what_cannot_be_shown_is_told(
    tmp_path: Path, arguments: str, code: int, words: str
) -> None:
    """On stderr; misuse is 2."""
    for kind in ("subject", "txt"):
        (tmp_path / f"broken.{kind}").write_text("x")
    (tmp_path / "broken.html").write_text("{{ link('nope') }}")
    environment = {"REACH_TEMPLATES_DIR": str(tmp_path)}
    command = ("messages", "preview", *arguments.split())
    with ReachProcess(*command, environment=environment) as process:
        assert process.wait() == code, everything(process)
        assert process.output == ""
        assert words in process.errors
        assert "Traceback" not in process.errors
