"""A Reach that runs already, and is not seen, writes nothing to the target of a copy."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest

from reach.cli.progress import Lines
from reach.db.copy.side import CannotCopy
from reach.db.migrate import newest
from reach.settings import Settings
from tests.conftest import migrate
from tests.moving.test_copy import ADA, LAST, NOW
from tests.support.moving.copied import Place, copied
from tests.support.moving.filled import counts
from tests.support.plain import NO_CERTIFICATES
from tests.support.ports import free_port
from tests.support.processes import ReachProcess

START_SECONDS = 30


class Caller(Lines):
    """Signs somebody up while the copy waits: at its beginning, and once all rows are there."""

    def __init__(self, settings: Settings) -> None:
        """Call nobody yet."""
        self._url = f"{settings.origin}/v1/signups"
        self.answers: list[httpx.Response] = []

    def begin(self, what: str, rows: int) -> None:
        """Call at two of the steps."""
        super().begin(what, rows)
        if what in ("copying people", "verifying people"):
            self.answers.append(self.sign_up())

    def sign_up(self) -> httpx.Response:
        """Sign somebody up."""
        person = {"email": "late@example.com", "name": "Late"}
        return httpx.post(
            self._url, json=person, verify=NO_CERTIFICATES, trust_env=False, timeout=30
        )


@contextmanager
def idle(settings: Settings) -> Iterator[Caller]:
    """Run an API that has asked nothing of its database yet: no connection of it is open."""
    with ReachProcess("api", settings=settings) as process:
        process.wait_for("api started", START_SECONDS)
        yield Caller(settings)


@pytest.fixture
def settings_of_target(target: Place, make_settings: Callable[..., Settings]) -> Settings:
    """Settings for a Reach on the target, which is migrated."""
    migrate(target.url)
    return make_settings(database_url=target.url, port=free_port(), database_seconds=2)


def test_an_idle_api_is_told_to_wait(
    source: Place, target: Place, settings_of_target: Settings
) -> None:
    """503 while the copy is under way, which ends well; then it serves, started anew or not."""
    with idle(settings_of_target) as caller:
        assert copied(source, target, watching=caller) == counts(source.file)
        answers = [(answer.status_code, answer.json()["type"]) for answer in caller.answers]
        assert [code for code, _ in answers] == [503, 503], answers
        assert all("database-unavailable" in type_ for _, type_ in answers)
        assert target.count("people") == 310
        assert target.revision == newest()
        assert caller.sign_up().status_code == httpx.codes.ACCEPTED
    assert target.count("people") == 311


def test_half_a_copy_is_not_written_to_between_two_runs(
    source: Place, target: Place, settings_of_target: Settings
) -> None:
    """Nobody works on it then; an API that runs already still gets nothing into it."""
    target.on_adding("people", 300, "UPDATE people SET name = 'x' WHERE name = 'Zoë 300'")
    with idle(settings_of_target) as caller:
        with pytest.raises(CannotCopy, match="differs"):
            copied(source, target)
        refused = caller.sign_up()
        assert refused.status_code == httpx.codes.SERVICE_UNAVAILABLE, refused.text
    target.be_well("people")
    assert copied(source, target, starts_over=True)["people"] == 310


def test_rows_that_no_copy_wrote_are_not_deleted(source: Place, target: Place) -> None:
    """Whoever got them in: neither starting over nor beginning anew removes them."""
    migrate(target.url)
    target.on_adding("people", 300, "UPDATE people SET name = 'x' WHERE name = 'Zoë 300'")
    with pytest.raises(CannotCopy, match="differs"):
        copied(source, target)
    target.be_well("people")
    at = NOW if target.is_sqlite else "now()"
    as_the_copy = [] if target.is_sqlite else ["SET application_name = 'reach db copy'"]
    target.run(*as_the_copy, ADA.format(LAST, now=at))
    with pytest.raises(CannotCopy, match="311 rows in people, of which 310 were copied"):
        copied(source, target, starts_over=True)
    source.run("UPDATE people SET name = 'y' WHERE name = 'Zoë 9'")
    with pytest.raises(CannotCopy, match="311 rows in people, of which 310 were copied"):
        copied(source, target)
    assert target.count("people") == 311
