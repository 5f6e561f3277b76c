"""What tests of delivery share with those of the outbox."""

from tests.messages.conftest import outbox

__all__ = ["outbox"]
