"""What tests of logs, metrics and traces share: a collector, traces that are on, statements."""

import logging
from collections.abc import Iterator

import pytest

from reach.telemetry import logging as logs
from reach.telemetry import traces
from tests.support.canaries import Watch
from tests.support.servers.collector import Collector, running_collector


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Offer a collector of traces."""
    with running_collector() as running:
        yield running


@pytest.fixture
def traced(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """Have this process trace, to the collector."""
    for name, value in collector.environment.items():
        monkeypatch.setenv(name, value)
    traces.configure()
    yield collector
    traces.stop()


@pytest.fixture
def statements(watch: Watch) -> Iterator[None]:
    """Have engines that are opened in this test log their statements, as `debug` does."""
    logger = logging.getLogger(logs.STATEMENTS)
    before = logger.level
    logger.setLevel(logging.INFO)
    yield
    logger.setLevel(before)
