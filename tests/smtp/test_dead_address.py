"""A mail server with a dead address: the email leaves by another, and no promise is weakened."""

import time
from typing import Any

import pytest

from reach.messages.outcome import Sent, Unavailable
from tests.support.messages import send, sender_to
from tests.support.network import OTHERS, DeadAddress, hosts
from tests.support.servers.mail import Authority, MailServer
from tests.support.times import LATE_SECONDS

NAME, ALIVE = "mail.test", "127.0.0.1"
#: What a dead address costs, and what a busy machine may be late by.
SOON_SECONDS = 0.25 + LATE_SECONDS


@pytest.mark.parametrize("dead", OTHERS)
@pytest.mark.parametrize("tls", [None, "implicit", "starttls"])
async def test_the_email_leaves_by_another_address(
    dead: str, tls: Any, authority: Authority
) -> None:
    """Soon, on each new connection; the certificate is still that of the name."""
    server = MailServer(tls=tls, certificate=authority.certify(NAME) if tls else None)
    async with server:
        url = server.url.replace(ALIVE, NAME)
        with DeadAddress(dead, server.port), hosts({NAME: (dead, ALIVE)}):
            async with sender_to(url, smtp_ca_file=authority.file) as sender:
                for number in range(3):
                    began = time.monotonic()
                    assert type(await send(sender)) is Sent
                    assert time.monotonic() - began < SOON_SECONDS
                    assert server.close_idle() == 1
                    assert len(server.messages) == number + 1


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
async def test_a_certificate_of_another_name_is_not_taken(tls: Any, authority: Authority) -> None:
    """That of the address will not do: it is the name that was asked for."""
    async with MailServer(tls=tls, certificate=authority.certify(ALIVE, "localhost")) as server:
        url = server.url.replace(ALIVE, NAME)
        with hosts({NAME: (ALIVE,)}):
            async with sender_to(url, smtp_ca_file=authority.file) as sender:
                outcome = await send(sender)
    assert type(outcome) is Unavailable
    assert "certificate" in outcome.text.lower()
    assert server.messages == []


@pytest.mark.parametrize("dead", OTHERS)
async def test_no_address_that_answers_opens_the_breaker(dead: str) -> None:
    """Within the time that connecting may take; the words name each address."""
    with DeadAddress(dead) as address, hosts({NAME: (dead, "127.0.0.9")}):
        url = f"smtp://{NAME}:{address.port}"
        async with sender_to(url, smtp_greeting_seconds=0.5) as sender:
            began = time.monotonic()
            outcome = await send(sender)
            assert time.monotonic() - began < 0.5 + SOON_SECONDS
    assert type(outcome) is Unavailable
    shown = f"[{dead}]" if ":" in dead else dead
    assert outcome.text.startswith(f"connect: {NAME} cannot be reached: {shown}:{address.port}: no")
    assert f"127.0.0.9:{address.port}: Connection refused" in outcome.text
