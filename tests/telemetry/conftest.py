"""What tests of logs, metrics and traces share."""

import logging
from collections.abc import Iterator

import pytest

from reach.telemetry import logs
from tests.canaries import Watch


@pytest.fixture
def statements(watch: Watch) -> Iterator[None]:  # noqa: ARG001 - it sets the logs up
    """Have engines that are opened in this test log their statements, as `debug` does."""
    logger = logging.getLogger(logs.STATEMENTS)
    before = logger.level
    logger.setLevel(logging.INFO)
    yield
    logger.setLevel(before)
