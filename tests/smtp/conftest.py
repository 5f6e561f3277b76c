"""The dialogue is one, whether commands are said one after another or several at once."""

import pytest

from tests.support.servers.mail import MailServer


@pytest.fixture(params=[False, True], ids=["one by one", "pipelined"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test with servers that take several commands at once, and with those that do not."""
    monkeypatch.setattr(MailServer, "pipelines", request.param)
