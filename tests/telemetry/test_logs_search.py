"""The search that every test ends with finds what it is for."""

import pytest
import structlog
from prometheus_client import CollectorRegistry, Counter, generate_latest

from reach.telemetry.metrics import SIGN_UPS
from tests.support.canaries import Watch, found_in


@pytest.mark.parametrize(
    "told",
    [
        "ada@example.com",
        "zo\u00eb@example.com",
        "rk_abcdefgh12345",
        "rlt_yFJ7wxWORJG5YvqhkMKkDm0AAAADAAAAAGsV6Y0.c2ln",
        "/manage?token=x",
        "of Ada Lovelace",
        "Welcome to Reach, Zelda",
        "canary",
    ],
)
def test_it_finds(told: str) -> None:
    """An address, a key, a token, a name, a subject, a canary; in a line and in a metric."""
    line = f'{{"message":"{told}"}}'
    assert found_in(f"{{}}\n{line}\n{{}}") == [line]
    registry = CollectorRegistry()
    Counter("told", "-", ["word"], registry=registry).labels(told)
    assert found_in(generate_latest(registry).decode())


def test_it_lets_pass_what_a_line_is_made_of() -> None:
    """Ids, routes, file names, numbers."""
    assert (
        found_in('{"id":"0195c8d1f2a3","path":"/v1/people/{id}","x":"reach_signups_total"}') == []
    )


def test_it_reads_what_this_test_logs(watch: Watch) -> None:
    """And this test would fail by it, did it not say that it is meant."""
    structlog.get_logger("reach").info("api stopped", reason="It was Ada")
    assert len(found_in(watch.told())) == 1
    watch.begin()


def test_it_reads_what_this_test_counts(watch: Watch) -> None:
    """Once after the test, and all of it again at the end of the suite."""
    SIGN_UPS.labels("ada@example.com").inc()
    assert found_in(watch.counted()) == ["ada@example.com"]
    assert watch.counted() == ""
    assert len(found_in(watch.scraped())) >= 1
    SIGN_UPS.remove("ada@example.com")
    assert found_in(watch.scraped()) == []
