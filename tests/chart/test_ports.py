"""Ports agree: what a container listens on, what is probed, routed to, scraped and let in."""

from typing import Any

import pytest

from tests.support.deploy.chart import (
    BY_VALUE,
    EVERYTHING,
    LEAST,
    VALUES,
    Manifest,
    container_of,
    only,
    render,
    site,
)

#: All that a site may write, and the port that a policy reads in it.
URLS = {
    "postgresql://db/reach": 5432,
    "postgres://reach:p%2Fw%40:x!$&'()*+,;=~@[2001:db8::5433]:5434/reach?sslmode=verify-full": 5434,
    "postgresql://[2001:db8::5433]/reach": 5432,
    "postgresql://reach@db-0.db.svc:6000": 6000,
    "postgresql://reach:9@db/reach?sslmode=require&application_name=x": 5432,
}
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


def ports_of(thing: Manifest) -> dict[str, int]:
    """List a container's ports by name."""
    return {one["name"]: one["containerPort"] for one in container_of(thing)["ports"]}


@pytest.mark.parametrize("name", VALUES)
def test_what_is_probed_routed_to_and_scraped_is_there(name: str) -> None:
    """Everybody names the port, so nobody can mean another number."""
    objects = site(name)
    api, worker = (only(objects, "Deployment", which) for which in ("api", "worker"))
    assert ports_of(api) == {"http": 8000, "metrics": 9090}
    assert ports_of(worker) == {"metrics": 9090}
    for deployment in (api, worker):
        for probe in PROBES:
            if probe in container_of(deployment):
                assert container_of(deployment)[probe]["httpGet"]["port"] in ports_of(deployment)
    services = {one["metadata"]["name"]: one["spec"] for one in objects if one["kind"] == "Service"}
    assert services["reach"]["ports"] == [
        {"name": "http", "port": 80, "targetPort": "http", "appProtocol": "http"}
    ]
    assert services["reach-metrics"]["ports"] == [
        {"name": "metrics", "port": 9090, "targetPort": "metrics"}
    ]
    assert services["reach-metrics"]["clusterIP"] == "None"
    _assert_selects(services["reach"]["selector"], [api], [worker])
    _assert_selects(services["reach-metrics"]["selector"], [api, worker], [])


def _assert_selects(
    selector: dict[str, str], these: list[Manifest], not_those: list[Manifest]
) -> None:
    for thing in (*these, *not_those):
        labels = thing["spec"]["template"]["metadata"]["labels"]
        assert (selector.items() <= labels.items()) == (thing in these)


@pytest.mark.parametrize("name", VALUES)
def test_nobody_talks_to_anybody_but_for_what_is_said(name: str) -> None:
    """Every pod is under a policy for both ways; rules name ports that are there."""
    objects = site(name)
    policies = [one["spec"] for one in objects if one["kind"] == "NetworkPolicy"]
    assert all(one["policyTypes"] == ["Ingress", "Egress"] for one in policies)
    for thing in objects:
        if thing["kind"] not in ("Deployment", "Job", "Pod"):
            continue
        labels = thing["spec"].get("template", thing)["metadata"]["labels"]
        selecting = [
            one for one in policies if one["podSelector"]["matchLabels"].items() <= labels.items()
        ]
        assert selecting, f"{thing['kind']} {thing['metadata']['name']} is under no policy"
        let_in = [
            port["port"]
            for one in selecting
            for rule in one.get("ingress", [])
            for port in rule["ports"]
        ]
        has_ports = thing["kind"] == "Deployment"
        assert sorted(let_in) == (sorted(ports_of(thing)) if has_ports else [])
        for one in selecting:
            for rule in (*one.get("ingress", []), *one.get("egress", [])):
                assert rule["ports"], "a rule without ports lets everything through"
            # Nobody comes in from anywhere.
            assert all(rule["from"] for rule in one.get("ingress", []))


def egress(values: Any, component: str) -> list[int]:
    """List the ports that pods of a component may talk to, but for DNS."""
    rules = only(render(values), "NetworkPolicy", component)["spec"]["egress"]
    assert {port["port"] for port in rules[0]["ports"]} == {53}
    return [port["port"] for rule in rules[1:] for port in rule["ports"]]


def test_each_talks_to_what_it_needs_alone() -> None:
    """The API has no business with the mail server, nor the worker with Redis."""
    assert egress(LEAST, "api") == [5432, 6379]
    assert egress(LEAST, "worker") == [5432, 25, 465, 587]
    assert egress(LEAST, "migrate") == [5432]
    # A URL that is given by value says which port it is.
    assert egress(BY_VALUE, "api") == [5433, 6380]
    assert egress(BY_VALUE, "worker") == [5433, 465]
    for url, port in URLS.items():
        assert egress({**LEAST, "database": {"url": url}}, "migrate") == [port], url
    for scheme, port in (("http", 80), ("https", 443)):
        otlp = {**LEAST, "traces": {"endpoint": f"{scheme}://otel.example.com/v1"}}
        assert egress(otlp, "worker") == [5432, 25, 465, 587, port]
    traced = {**LEAST, "traces": {"endpoint": "http://collector.monitoring.svc:4319"}}
    assert egress(traced, "api") == [5432, 6379, 4319]
    signs_in = {"REACH_OIDC_CLIENT_ID": "reach", "REACH_OIDC_GRANTS": "ops=*"}
    for issuer, port in (("https://login.example.org", 443), ("https://login:8443/realms/x", 8443)):
        oidc = {"issuer": issuer, "existingSecret": "login"}
        values = {**LEAST, "oidc": oidc, "settings": signs_in}
        assert egress(values, "api") == [5432, 6379, port]
        assert egress(values, "worker") == [5432, 25, 465, 587]
    assert egress(EVERYTHING, "inbound") == [5432, 993, 143, 4319]
    own = {**LEAST, "networkPolicy": {"smtp": {"ports": [2525], "to": [{"podSelector": {}}]}}}
    assert egress(own, "worker") == [5432, 2525]
    rules = only(render(own), "NetworkPolicy", "worker")["spec"]["egress"]
    assert rules[2]["to"] == [{"podSelector": {}}]


def rules_of(values: Any, component: str) -> list[Any]:
    """List whom pods of a component may talk to."""
    return only(render(values), "NetworkPolicy", component)["spec"]["egress"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("component", ["api", "worker", "migrate", "check"])
def test_names_are_answered_by_what_answers_names(component: str) -> None:
    """By the cluster's DNS or the node's cache, a pod of its own, at the port of those pods."""
    (names, *_) = rules_of(LEAST, component)
    asked = [one["podSelector"]["matchLabels"] for one in names["to"] if "podSelector" in one]
    assert asked == [{"k8s-app": "kube-dns"}, {"k8s-app": "node-local-dns"}]
    (names, *_) = rules_of({**LEAST, "networkPolicy": {"dns": {"ports": [5353]}}}, component)
    assert names["ports"] == [
        {"port": 5353, "protocol": "UDP"},
        {"port": 5353, "protocol": "TCP"},
    ]


def test_the_check_may_ask_the_name_servers_that_it_is_told_to_ask() -> None:
    """Else `helm test` would say that nobody knows the sender's domain; no other pod asks them."""
    servers = "9.9.9.9, 149.112.112.112:5353  [2620:fe::fe]:54,2620:fe::9,"
    told = {**LEAST, "settings": {"REACH_DNS_SERVERS": servers}}
    asked = [one for one in rules_of(told, "check") if one not in rules_of(LEAST, "check")]
    assert [(one["to"][0]["ipBlock"]["cidr"], one["ports"][0]["port"]) for one in asked] == [
        ("9.9.9.9/32", 53),
        ("149.112.112.112/32", 5353),
        ("2620:fe::fe/128", 54),
        ("2620:fe::9/128", 53),
    ]
    assert all([port["protocol"] for port in one["ports"]] == ["UDP", "TCP"] for one in asked)
    assert rules_of(told, "worker") == rules_of(LEAST, "worker")


def test_policies_can_be_left_out() -> None:
    """For those who have their own."""
    objects = render({**LEAST, "networkPolicy": {"enabled": False}})
    assert not [one for one in objects if one["kind"] == "NetworkPolicy"]
