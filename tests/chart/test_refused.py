"""What cannot work is refused before anything is changed, in words that say what to do."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.deploy.chart import LEAST, PASSWORD, Refused, render

ALONE = "API processes must count together: set redis.existingSecret or redis.url"
NO_REDIS = {**LEAST, "redis": {}}
OFF = dict.fromkeys(("REACH_LIMIT_SIGNUPS", "REACH_LIMIT_API", "REACH_LIMIT_FAILED_KEYS"), "off")
CASES: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "no address": ({**LEAST, "publicUrl": ""}, "publicUrl must be set"),
    "no sender": ({**LEAST, "mailFrom": ""}, "mailFrom must be set"),
    "no database": ({**LEAST, "database": {}}, "SQLite will not do; use Postgres"),
    "no mail server": ({**LEAST, "smtp": {}}, "smtp.existingSecret or smtp.url must be set"),
    "SQLite": (
        {**LEAST, "database": {"url": "sqlite:////data/reach.sqlite3"}},
        "database.url names SQLite, a file on one machine, and pods share no disk: use Postgres",
    ),
    "no Postgres": (
        {**LEAST, "database": {"url": f"mysql://reach:{PASSWORD}@db/reach"}},
        "database.url must start with postgresql://",
    ),
    "no Redis": ({**LEAST, "redis": {"url": "http://cache"}}, "redis.url must start with redis://"),
    "no SMTP": (
        {**LEAST, "smtp": {"url": "relay:25"}},
        "smtp.url must start with smtp+starttls://",
    ),
    "nobody to take reports for": (
        {**LEAST, "inbound": {"enabled": True}},
        "settings.REACH_RETURN_PATH must be set beside inbound.enabled",
    ),
    "nobody to read the mailbox": (
        {**LEAST, "bounceMailbox": {"existingSecret": "bounces"}},
        "inbound.enabled must be set beside bounceMailbox.existingSecret",
    ),
    "no collector": (
        {**LEAST, "traces": {"endpoint": "collector:4318"}},
        "traces.endpoint must be a URL such as http://collector.monitoring.svc:4318",
    ),
    "processes without room": (
        {**LEAST, "api": {"processes": 4}},
        "(256Mi) is too little for api.processes: 4: each needs about 120 MB, so set 512Mi or more",
    ),
    "a process without room": (
        {**LEAST, "api": {"resources": {"limits": {"memory": 100_000_000}}}},
        "api.resources.limits.memory (100000000) is too little for api.processes: 1",
    ),
    "a port that the policy cannot see": (
        {**LEAST, "database": {"url": f"postgresql://reach:{PASSWORD}@db/reach?port=6000"}},
        "database.url names a host or a port among its parameters: set networkPolicy.database",
    ),
    "hosts": (
        {**LEAST, "database": {"url": f"postgresql://reach:{PASSWORD}@db-0:1,db-1:2/reach"}},
        "database.url cannot be read: name one host, and percent-encode the password",
    ),
    "an address with a star": (
        {**LEAST, "publicUrl": "https://*.example.org"},
        "publicUrl must be a scheme and one host",
    ),
    "a password's key without its Secret": (
        {**LEAST, "database": {"url": "postgresql://db/reach", "passwordKey": "password"}},
        "database.existingSecret must be set beside database.userKey or database.passwordKey",
    ),
    "a direct address without its Secret": (
        {**LEAST, "database": {"url": "postgresql://db/reach", "directUrlKey": "direct"}},
        "database.existingSecret must be set beside database.directUrlKey",
    ),
    "a name server's name": (
        {**LEAST, "settings": {"REACH_DNS_SERVERS": "9.9.9.9 ns.example.org"}},
        "settings.REACH_DNS_SERVERS holds addresses, with or without ports, and no names",
    ),
    "two databases": (
        {**LEAST, "database": {"existingSecret": "reach", "url": "postgresql://db/reach"}},
        "database.existingSecret and database.url are both set: keep one",
    ),
    "two keys": (
        {**LEAST, "secretKey": {"existingSecret": "reach", "value": PASSWORD * 2}},
        "secretKey.existingSecret and secretKey.value are both set",
    ),
    "a short key": (
        {**LEAST, "secretKey": {"value": PASSWORD}},
        "secretKey.value must have 32 characters or more",
    ),
    "replicas that count alone": (NO_REDIS, f"2 {ALONE}"),
    "processes that count alone": (
        {**NO_REDIS, "api": {"replicas": 1, "processes": 3}},
        f"3 {ALONE}",
    ),
    "pods to come that count alone": (
        {**NO_REDIS, "api": {"autoscaling": {"enabled": True, "minReplicas": 1}}},
        f"10 {ALONE}",
    ),
    "one limit that is left": (
        {**NO_REDIS, "settings": OFF | {"REACH_LIMIT_API": "5/minute"}},
        'or lift the limits in settings: REACH_LIMIT_API, each "off"',
    ),
    "a route from nobody": (
        {**LEAST, "edge": {"kind": "ingress", "trustedProxies": []}},
        "edge.trustedProxies must be set: the network of the proxy's pods",
    ),
    "a CA that nobody looks at": (
        {**LEAST, "database": {"existingSecret": "reach", "ca": {"existingSecret": "ca"}}},
        "database.sslMode must be verify-full or verify-ca",
    ),
    "parameters twice": (
        {**LEAST, "database": {"url": "postgresql://db/reach?sslmode=x", "sslMode": "require"}},
        "database.url has parameters",
    ),
    "a secret for no provider": (
        {**LEAST, "oidc": {"existingSecret": "login"}},
        "oidc.issuer must be set beside oidc.existingSecret",
    ),
    "a provider where nobody may do anything": (
        {**LEAST, "oidc": {"issuer": "https://login.example.org"}},
        "settings.REACH_OIDC_CLIENT_ID and settings.REACH_OIDC_GRANTS must be set",
    ),
    "a signature without a key": (
        {**LEAST, "dkim": {"selector": "reach"}},
        "dkim.existingSecret must be set beside dkim.selector",
    ),
    "a key for no signature": (
        {**LEAST, "dkim": {"existingSecret": "reach-dkim"}},
        "dkim.selector must be set beside dkim.existingSecret",
    ),
    "templates twice": (
        {**LEAST, "emailTemplates": {"configMap": "ours", "files": {"welcome.txt": "Hi"}}},
        "emailTemplates.configMap and emailTemplates.files are both set",
    ),
    "more at least than at most": (
        {**LEAST, "worker": {"autoscaling": {"minReplicas": 9}}},
        "worker.autoscaling.minReplicas is above maxReplicas",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_work_is_refused_with_words(name: str) -> None:
    """And the words repeat no URL: it holds a password."""
    values, words = CASES[name]
    with pytest.raises(Refused) as refused:
        render(values)
    said = " ".join(refused.value.args[0].split())
    assert words in said
    assert PASSWORD not in said


@pytest.mark.parametrize(
    ("name", "scheme", "character"),
    [
        *(("database", "postgresql", one) for one in ("%", "%zz", "/", "?", "^", "#", " ", "@")),
        *(("redis", "rediss", one) for one in ("%", "1/1", "1?1")),
        ("smtp", "smtp+starttls", "%"),
    ],
)
def test_a_password_that_is_not_encoded_is_not_told(name: str, scheme: str, character: str) -> None:
    """What helm says is in CI's logs."""
    for password in (f"{PASSWORD}{character}", f"{character}{PASSWORD}"):
        with pytest.raises(Refused) as refused:
            render({**LEAST, name: {"url": f"{scheme}://reach:{password}@host:5432/0"}})
        assert f"{name}.url cannot be read: name one host, and" in refused.value.args[0]
        assert PASSWORD not in refused.value.args[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"api": {"replicas": 1}},
        # YAML reads a bare `off` as a truth value.
        {"settings": dict.fromkeys(OFF, False)},
        {"settings": OFF, "api": {"processes": 2}},
    ],
)
def test_one_process_or_none_that_limits_needs_no_redis(changes: Mapping[str, Any]) -> None:
    """As DESIGN §8 says of one machine."""
    assert render({**NO_REDIS, **changes})


@pytest.mark.parametrize("memory", ["512Mi", "0.5Gi", "480M", 480_000_000, None])
def test_processes_that_have_room_are_not_refused(memory: Any) -> None:
    """Whatever Kubernetes calls it; None is no limit."""
    resources = {"requests": {"memory": "128Mi"}, "limits": {"memory": memory}}
    assert render({**LEAST, "api": {"processes": 4, "resources": resources}})


def test_who_wants_no_resources_has_none() -> None:
    """The cluster may set its own (a LimitRange)."""
    assert render({**LEAST, "api": {"processes": 4, "resources": None}})
