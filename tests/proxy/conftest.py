"""What the tests of the edge share: settings of a Reach behind it."""

import socket

import pytest
from pydantic import SecretStr

from reach.settings import Settings
from tests.support.deploy.edges import NAME, address_of
from tests.support.processes.ports import free_port
from tests.support.servers.mail import MailServer
from tests.support.servers.traefik import NoTraefik, binary


@pytest.fixture(autouse=True)
def _needs_traefik() -> None:
    try:
        binary()
    except NoTraefik as reason:
        pytest.skip(str(reason))
    with socket.socket() as candidate:
        try:
            candidate.bind((address_of(1), 0))
        except OSError:  # macOS has 127.0.0.1 only
            pytest.skip("this system has one loopback address, and clients need several")


@pytest.fixture
def behind(settings: Settings, mail_server: MailServer) -> Settings:
    """Settings of a Reach behind the edge, whose own limits are off: what refuses is the edge."""
    return settings.model_copy(
        update={
            "smtp_url": SecretStr(mail_server.url),
            "port": free_port(),
            "public_url": f"http://{NAME}",
            "trusted_proxies": "127.0.0.1",
            "limit_signups": "off",
            "limit_api": "off",
            "limit_failed_keys": "off",
            "limit_mail_per_address": "off",
        }
    )
