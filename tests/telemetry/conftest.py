"""What tests of logs, metrics and traces share: a collector, traces that are on, statements."""

import logging
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from reach.settings import Settings
from reach.telemetry import logging as logs
from reach.telemetry import traces
from tests.support.canaries import Watch
from tests.support.collector import Collector, running_collector
from tests.support.mail import MailServer
from tests.support.ports import free_port


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
def mailing(settings: Settings, mail_server: MailServer) -> Settings:
    """Settings on both databases whose mail goes to ``mail_server``, with a port of their own."""
    smtp_url = SecretStr(mail_server.url)
    return settings.model_copy(update={"smtp_url": smtp_url, "port": free_port()})


@pytest.fixture
def statements(watch: Watch) -> Iterator[None]:
    """Have engines that are opened in this test log their statements, as `debug` does."""
    logger = logging.getLogger(logs.STATEMENTS)
    before = logger.level
    logger.setLevel(logging.INFO)
    yield
    logger.setLevel(before)
