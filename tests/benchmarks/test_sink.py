"""The mail server of the benchmarks tells each mail that it took, and one too many is an error."""

import smtplib

import pytest

from benchmarks.sink import Taken, sink


def deliver(taken: Taken, *names: str) -> None:
    """Send a mail to each, over one connection."""
    with smtplib.SMTP("127.0.0.1", taken.port) as client:
        for name in names:
            client.sendmail("a@example.org", [f"{name}@example.com"], "Subject: a\r\n\r\nb\r\n")


def test_mails_are_counted_one_by_one() -> None:
    """In the order in which they came; and a mail twice is two."""
    with sink() as taken:
        deliver(taken, "ada", "bob")
        first = taken.next(2)
        assert [email for _, email in first] == ["ada@example.com", "bob@example.com"]
        assert first[0][0] < first[1][0]
        deliver(taken, "cy", "cy")
        with pytest.raises(AssertionError, match="2 mails, not 1"):
            taken.next(1)
