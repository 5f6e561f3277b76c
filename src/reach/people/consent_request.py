"""What a request tells of the consent that its form gives."""

import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Network, ip_network
from typing import Any

from reach.limits.client import parse
from reach.people.consent import Evidence, Form, Wording
from reach.web.routes import Services

#: A web site, as browsers name it (RFC 6454 §7): what else is sent in its place is nobody's word.
ORIGIN = re.compile(r"https?://[a-z0-9.\[\]:_-]{1,253}", re.ASCII)
#: How much of a client's address is kept: enough for a provider's region, not for a household.
IPV4_BITS, IPV6_BITS = 24, 48


def evidence_of(  # noqa: PLR0913 - what there is to know
    services: Services,
    scope: Mapping[str, Any],
    form: Form,
    language: str | None,
    *,
    origin: str | None = None,
    wording: Wording | None = None,
) -> Evidence:
    """Give what is known of a sign-up's consent, of the request (ASGI's scope) that brings it.

    ``origin``: where the form is, if the request cannot say so.
    """
    network = None
    if services.settings.keep_consent_network:
        network = network_of(services.limiter.clients.of_request(scope))
    origin = origin or origin_of(services, scope)
    return Evidence(form, language, origin, network=network, wording=wording)


def origin_of(services: Services, scope: Mapping[str, Any]) -> str | None:
    """Name the web site whose page sends a request; None if it is ours, or nobody says."""
    for name, value in scope["headers"]:
        if name == b"origin":
            origin = value.decode("latin-1")
            is_elsewhere = origin != services.settings.origin and ORIGIN.fullmatch(origin)
            return origin if is_elsewhere else None
    return None


def network_of(client: str) -> str | None:
    """Cut a client's address short: ``192.0.2.0/24``, ``2001:db8:1::/48``; None if it has none."""
    address = parse(client.partition("/")[0])
    if address is None:
        return None
    if isinstance(address, IPv4Address):
        return str(ip_network((address, IPV4_BITS), strict=False))
    return str(IPv6Network((address, IPV6_BITS), strict=False))
