"""Disposable domains: a clear refusal, for a person may have such an address."""

from collections.abc import Callable
from pathlib import Path

import pytest

from reach.people.address import parse_address
from reach.people.antispam import DisposableDomains
from reach.settings import BadSettings, Settings
from tests.support.forms import ENDPOINTS
from tests.support.people import everybody, operator
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.processes.reach import ADA, running_reach

LIST = """\ufeff# thrown away soon
trash.example   # all of it

bücher.example
MAIL.Junk.example
"""
REFUSED = (
    "ada@trash.example",
    "ADA@Trash.Example",
    "ada@deep.below.trash.example",
    "ada@bücher.example",
    "ada@xn--bcher-kva.example",
    "ada@mail.junk.example",
)
ADMITTED = ("ada@example.com", "ada@nottrash.example", "ada@junk.example", "ada@trash.example.com")


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A file of domains."""
    file = tmp_path / "domains.txt"
    file.write_text(LIST, encoding="utf-8")
    return file


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_disposable_address_is_told_so(
    settings: Settings, listed: Path, endpoint: str
) -> None:
    """422 beside the address, in any spelling, in both; operators may add whom they like."""
    changes = {"disposable_domains_file": listed}
    async with running_reach(settings.model_copy(update=changes)) as reach:
        http = await operator(reach)
        for email in REFUSED:
            answer = await ENDPOINTS[endpoint](http, {**ADA, "email": email})
            assert answer.status_code == 422, email
            assert "Please use a lasting one." in answer.text
            if endpoint == "API":
                assert [error["pointer"] for error in answer.json()["errors"]] == ["/email"]
        assert await everybody(http) == []
        for email in ADMITTED:
            answer = await ENDPOINTS[endpoint](http, {**ADA, "email": email})
            assert answer.status_code in (202, 303), email
        assert len(await everybody(http)) == len(ADMITTED)
        answer = await http.post("/v1/people", json={**ADA, "email": REFUSED[0]})
        assert answer.status_code == 201


@pytest.mark.parametrize("line", ["not a domain", "com", "http://x.example", "@x.example", "a..b"])
def test_a_line_that_is_no_domain_is_named(tmp_path: Path, line: str) -> None:
    """By its number; what it says is not repeated."""
    file = tmp_path / "domains.txt"
    file.write_text(f"# one\nexample.com\n{line}\n", encoding="utf-8")
    with pytest.raises(BadSettings) as caught:
        DisposableDomains.read(file)
    assert str(caught.value) == "REACH_DISPOSABLE_DOMAINS_FILE: line 3 is not a domain"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """It is named."""
    (tmp_path / "latin").write_bytes(b"b\xfccher.example\n")
    for file in (tmp_path / "none", tmp_path, tmp_path / "latin"):
        with pytest.raises(BadSettings, match="REACH_DISPOSABLE_DOMAINS_FILE cannot be read"):
            DisposableDomains.read(file)


def test_without_a_file_there_are_none() -> None:
    """Every domain will do."""
    assert parse_address("ada@example.com") not in DisposableDomains.read(None)


def test_reach_does_not_start_with_a_bad_file(
    make_settings: Callable[..., Settings], sqlite: str, tmp_path: Path
) -> None:
    """`reach api` ends with 2 and names the line; `reach check` says the same."""
    file = tmp_path / "domains.txt"
    file.write_text("a b\n", encoding="utf-8")
    settings = make_settings(database_url=sqlite, port=free_port(), disposable_domains_file=file)
    with ReachProcess("api", settings=settings) as process:
        assert process.wait() == 2
        assert "line 1 is not a domain" in process.errors
    with ReachProcess("check", settings=settings) as process:
        assert process.wait() == 1
        assert "line 1 is not a domain" in process.output
