"""Sites that differ in all that the chart lets them differ in."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from tests.support.chart.rendered import LEAST, Manifest, render

SECRET_KEY = "a-key-that-is-long-enough-for-tests"
#: What stands in no object but a Secret.
PASSWORD = "a-word-that-nobody-guesses"
#: Each server by value, so that the release has Secrets of its own.
BY_VALUE: Mapping[str, Any] = {
    **LEAST,
    "database": {"url": f"postgresql://reach:{PASSWORD}@db.example:5433/reach"},
    "redis": {"url": f"rediss://:{PASSWORD}@cache.example:6380/0"},
    "smtp": {"url": f"smtps://reach:{PASSWORD}@relay.example"},
    "secretKey": {"value": f"{PASSWORD}-{SECRET_KEY}"},
}
SIDECAR = {
    "name": "proxy",
    "image": "proxy:1",
    "resources": {"requests": {"cpu": "10m"}, "limits": {"memory": "32Mi"}},
}
PLACED = {
    "podAnnotations": {"example.org/owner": "us"},
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"key": "reach", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "priorityClassName": "high",
}
#: All that can be turned on, at once.
EVERYTHING: Mapping[str, Any] = {
    **LEAST,
    "brandName": "Ours: $(HOSTNAME)",
    "replyTo": "answers@example.com",
    "settings": {
        "REACH_KEEP_MESSAGES_DAYS": 1_000_000,
        "REACH_ALTCHA": True,
        "REACH_LIMIT_API": False,
        "REACH_LOG_LEVEL": "warning",
    },
    "image": {"digest": f"sha256:{'0' * 64}", "pullSecrets": ["registry"]},
    "database": {
        "existingSecret": "reach",
        "passwordKey": "database-password",
        "directUrlKey": "direct",
        "sslMode": "verify-full",
        "ca": {"existingSecret": "reach-db-ca"},
    },
    "redis": {"existingSecret": "reach", "key": "redis", "passwordKey": "redis-password"},
    "smtp": {
        "existingSecret": "reach",
        "key": "smtp",
        "userKey": "smtp-user",
        "passwordKey": "smtp-password",
        "ca": {"existingSecret": "relay-ca"},
    },
    "dkim": {"selector": "reach", "domain": "example.com", "existingSecret": "reach-dkim"},
    "emailTemplates": {"files": {"welcome.txt": "Hi {{ name }}!"}},
    "traces": {"endpoint": "http://collector.monitoring.svc:4319"},
    "graceSeconds": 33,
    "serviceAccount": {"annotations": {"example.org/identity": "reach"}},
    "sidecars": [SIDECAR],
    "extraEnv": [{"name": "TZ", "value": "UTC"}],
    "api": {"processes": 2, "preStopSeconds": 7, "autoscaling": {"enabled": True}, **PLACED},
    "worker": {"autoscaling": {"enabled": True, "source": "keda"}, **PLACED},
    "migrate": PLACED,
    "networkPolicy": {"database": {"to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}]}},
}
#: Its key is made by helm.
MADE: Mapping[str, Any] = {**LEAST, "secretKey": {}}
FILES = ("values-minikube.yaml", "values-gke.yaml", "values-production.yaml")
VALUES: Mapping[str, Mapping[str, Any]] = {
    "least": LEAST,
    "made": MADE,
    "by-value": BY_VALUE,
    "everything": EVERYTHING,
    **{name: {} for name in FILES},
}


@cache
def site(name: str) -> list[Manifest]:
    """Render a site's objects."""
    return render(VALUES[name], files=[name] if name in FILES else [])
