"""What helm prints at the end: what to do next, and what to mend."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.deploy.chart import LEAST, notes

AUTOSCALED: dict[str, Any] = {"worker": {"autoscaling": {"enabled": True}}}
NO_TLS = {"publicUrl": "http://signup.example.com"}
SCALES_BLIND = "WARNING: worker.autoscaling.enabled without monitoring.enabled"
SELF_SIGNED = "WARNING: neither edge.tls.secretName nor edge.tls.certResolver is set"
CASES: Mapping[str, tuple[Mapping[str, Any], set[str]]] = {
    "nothing amiss": (NO_TLS, set()),
    "no certificate": ({}, {SELF_SIGNED}),
    "a certificate": ({"edge": {**LEAST["edge"], "tls": {"secretName": "tls"}}}, set()),
    "workers that nobody watches": (NO_TLS | AUTOSCALED, {SCALES_BLIND}),
    "workers of which Prometheus is not told": (
        NO_TLS
        | AUTOSCALED
        | {"monitoring": {"enabled": True, "serviceMonitor": {"enabled": False}}},
        {SCALES_BLIND},
    ),
    "workers that are watched": (NO_TLS | AUTOSCALED | {"monitoring": {"enabled": True}}, set()),
}


@pytest.mark.parametrize("name", CASES)
def test_what_would_be_missed_is_warned_of(name: str) -> None:
    """And nothing else is."""
    values, expected = CASES[name]
    said = notes({**LEAST, **values})
    assert said.count("WARNING") == len(expected)
    assert all(one in said for one in expected)


def test_whom_the_network_policy_lets_in_is_told() -> None:
    """Who forwards a port comes past it, and would never find out why the address is silent."""
    said = notes(LEAST)
    assert "networkPolicy.http.from" in said
    assert "kubernetes.io/metadata.name: traefik" in said
    assert "http.from" not in notes({**LEAST, "networkPolicy": {"enabled": False}})


def test_the_mail_server_is_told_without_its_password() -> None:
    """By name and port; with Mailpit, how to see the emails."""
    said = notes({**LEAST, "smtp": {"url": "smtp://me:secret@reach-mailpit:1025"}})
    assert "The email goes to reach-mailpit:1025. Mailpit" in said
    assert "port-forward service/reach-mailpit 8025:8025" in said
    assert "secret@" not in said
