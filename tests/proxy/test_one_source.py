"""What the edge does is written once: for one machine, for clusters, and for what watches it."""

import re
import shlex
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.deploy.chart import CHART, LEAST, Manifest, helm, only, render
from tests.support.deploy.clusters import pod, release, running_cluster, shipped_arguments
from tests.support.deploy.edges import DYNAMIC, SHIPPED, STATIC, running_edge
from tests.support.processes.ports import free_port
from tests.support.processes.reach import Reach

DEPLOY = SHIPPED.parent
LINKED = {
    "edge.yaml": SHIPPED / DYNAMIC,
    "rules.yaml": DEPLOY / "prometheus" / "rules.yaml",
    "dashboard.json": DEPLOY / "grafana" / "dashboards" / "reach.json",
}
#: What Traefik tells of an object that is not in the object.
ABOUT = {"name", "provider", "status", "type", "usedBy"}
HIDDEN = {"livez", "readyz", "mailbox"}
#: What only one machine's Traefik is told (its places), and only a cluster's.
OF_ONE_MACHINE = ("address", "asDefault", "providers.", "ping", "trustedIPs", "tls", "redirections")
OF_A_CLUSTER = (
    "providers.kubernetesCRD.safeNaming",
    "providers.kubernetesCRD.allowEmptyServices",
    "providers.kubernetesIngress.allowEmptyServices",
)


def source(*, tls: bool = False) -> Manifest:
    """Read the file provider's file, with the lines for HTTPS or without."""
    text = (SHIPPED / DYNAMIC).read_text(encoding="utf-8")
    http: Manifest = yaml.safe_load(text.replace("#tls# ", "") if tls else text)["http"]
    return http


def leaves(thing: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """List what is at the ends of nested mappings, by path."""
    if isinstance(thing, Mapping):
        for name, value in thing.items():
            yield from leaves(value, f"{path}.{name}".removeprefix("."))
    elif thing is not None:
        yield path, thing


def middlewares(told: list[Manifest]) -> dict[str, Manifest]:
    """What Traefik made of its middlewares, by the names they have in the file; not the chains."""
    return {
        one["name"].split("@")[0].removeprefix("signup_reach-"): {
            name: value for name, value in one.items() if name not in ABOUT
        }
        for one in told
        if one["type"] != "chain"
    }


async def test_traefik_makes_the_same_of_the_chart_as_of_the_file(tmp_path: Path) -> None:
    """Every middleware, router and entry point, field by field, as Traefik itself tells of them."""
    objects = release("ingressRoute")
    async with running_edge(tmp_path, (free_port(), free_port())) as edge:
        file = {what: edge.traefik.told(f"http/{what}") for what in ("middlewares", "routers")}
        points = edge.traefik.told("entrypoints")
    async with running_cluster(objects, pod(objects, "api", 1, {8000: free_port()})) as cluster:
        told = cluster.edge.traefik.told
        chart = {what: told(f"http/{what}") for what in ("middlewares", "routers", "services")}
        cluster_points = told("entrypoints")
    assert middlewares(file["middlewares"]) == middlewares(chart["middlewares"])
    assert routers(file, "@file") == routers(chart, "@kubernetescrd")
    assert guards(points, "web") == guards(cluster_points, "web")
    assert guards(points, "web") == guards(cluster_points, "websecure")
    assert guards(points, "traefik") == guards(cluster_points, "traefik")
    for service in chart["services"]:
        assert service["provider"] == "internal" or service["loadBalancer"]["passHostHeader"]


def routers(told: Mapping[str, list[Manifest]], suffix: str) -> dict[str, tuple[int, list[str]]]:
    """List each router's rank and what guards it, in order, by its rule."""
    chains = {
        one["name"]: one["chain"]["middlewares"]
        for one in told["middlewares"]
        if one["type"] == "chain"
    }
    found = {}
    for router in told["routers"]:
        if router["name"].endswith(suffix):
            names = [part for one in router["middlewares"] for part in chains.get(one, [one])]
            plain = [name.split("@")[0].removeprefix("signup_reach-") for name in names]
            found[router["rule"]] = (router["priority"], plain)
    return found


def guards(points: list[Manifest], name: str) -> Manifest:
    """What an entry point is, but for where it is."""
    (point,) = [one for one in points if one["name"] == name]
    return {key: value for key, value in point.items() if key not in {"name", "address"}} | {
        "asDefault": None
    }


async def test_traefik_knows_every_field_of_the_chart() -> None:
    """A misspelt one would be dropped without a word: what Traefik tells has each, or its zero."""
    objects = release("ingressRoute")
    async with running_cluster(objects, pod(objects, "api", 1, {8000: free_port()})) as cluster:
        told = middlewares(cluster.edge.traefik.told("http/middlewares"))
    assert unknown(objects, told) == set()
    only_misspelt: Manifest = {"retry": {"atempts": 10}}
    objects = [named("again", only_misspelt)]
    assert unknown(objects, told) == {"again.retry.atempts"}


def named(name: str, spec: Manifest) -> Manifest:
    """Make a Middleware."""
    return {"kind": "Middleware", "metadata": {"name": f"reach-{name}"}, "spec": spec}


def unknown(objects: list[Manifest], told: Mapping[str, Manifest]) -> set[str]:
    """List what stands in Middlewares, is more than nothing, and is not told of."""
    found = set()
    for one in objects:
        name = one["metadata"]["name"].removeprefix("reach-")
        if one["kind"] == "Middleware" and "chain" not in one["spec"]:
            known = {path for path, _ in leaves(told[name])}
            found |= {
                f"{name}.{path}"
                for path, value in leaves(one["spec"])
                if value != 0 and path not in known
            }
    return found


@pytest.mark.parametrize("tls", [False, True])
def test_the_chart_says_what_the_file_says(tls: bool) -> None:
    """With HTTPS and without; Traefik's API does not tell of all of it."""
    objects = release("ingressRoute", tls={"enabled": tls})
    written = {
        one["metadata"]["name"].removeprefix("reach-"): one["spec"]
        for one in objects
        if one["kind"] == "Middleware"
    }
    http = source(tls=tls)
    chains = {
        name: {"chain": {"middlewares": [{"name": f"reach-{one}"} for one in each["middlewares"]]}}
        for name, each in http["routers"].items()
    }
    assert written == {**http["middlewares"], **chains}
    assert only(objects, "ServersTransport")["spec"] == http["serversTransports"]["reach"]
    assert ("stsSeconds" in written["headers"]["headers"]) == tls


def test_a_site_changes_numbers_and_nothing_else() -> None:
    """Limits, the proxies before Traefik, and names; each is where it belongs."""
    limits: dict[str, Manifest] = {
        "signups": {"average": 7, "period": "2m", "burst": 3},
        "rest": {"burst": 9},
        "inFlight": {"amount": 4},
    }
    hosts = ["a.example.com", "b.example.com"]
    objects = release("ingressRoute", limits=limits, hosts=hosts, proxiesBeforeTraefik=2)
    specs = {one["metadata"]["name"]: one["spec"] for one in objects if one["kind"] == "Middleware"}
    by_client = {"ipStrategy": {"depth": 2, "ipv6Subnet": 64}}
    signups = {**limits["signups"], "sourceCriterion": by_client}
    rest = {"average": 20, "period": "1s", "burst": 9, "sourceCriterion": by_client}
    assert specs["reach-signups-rate"] == {"rateLimit": signups}
    assert specs["reach-rest-rate"] == {"rateLimit": rest}
    assert specs["reach-in-flight"] == {"inFlightReq": {"amount": 4, "sourceCriterion": by_client}}
    for route in only(objects, "IngressRoute")["spec"]["routes"]:
        assert route["match"].startswith("(Host(`a.example.com`) || Host(`b.example.com`)) && ")


def test_an_ingress_has_the_ranks_of_the_file() -> None:
    """Traefik's own, by the length of a rule, would put a longer prefix before sign-ups."""
    mark = "traefik.ingress.kubernetes.io/router.priority"
    ranks = {
        one["metadata"]["name"].removeprefix("reach-"): int(one["metadata"]["annotations"][mark])
        for one in release("ingress")
        if one["kind"] == "Ingress"
    }
    assert ranks == {name: each["priority"] for name, each in source()["routers"].items()}


@pytest.mark.parametrize("kind", ["ingress", "gateway"])
def test_other_controllers_need_nothing_of_traefik(kind: str) -> None:
    """Without Traefik's Middlewares there is nothing of Traefik's group; and with none, nothing."""
    objects = release(kind, middlewares=False)
    assert not [one for one in objects if one["apiVersion"].startswith("traefik.io/")]
    assert "filters" not in str(objects)
    assert "router.middlewares" not in str(objects)
    kinds = {one["kind"] for one in release("none")}
    assert not kinds & {"IngressRoute", "Middleware", "ServersTransport", "Ingress", "HTTPRoute"}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("middlewares", [True, False])
@pytest.mark.parametrize("kind", ["ingress", "gateway"])
async def test_every_route_of_reach_is_let_in(kind: str, middlewares: bool, reach: Reach) -> None:
    """What is for the world has a path in the list, and what is not has none."""
    found = list(paths(release(kind, middlewares=middlewares)))
    for _, path in reach.routes:
        is_let_in = any(one.fullmatch(path) for one in found)
        assert is_let_in == (path.split("/")[1] not in HIDDEN), path


def paths(objects: list[Manifest]) -> Iterator[re.Pattern[str]]:
    """List what is let in, each as an expression for the whole path."""
    for one in objects:
        for rule in one["spec"]["rules"] if one["kind"] in {"Ingress", "HTTPRoute"} else []:
            for match in rule.get("matches", []):
                assert len(rule["matches"]) <= 8, "all that Gateway API 1.0 takes"
                yield expression(match["path"]["value"], match["path"]["type"])
            for path in rule.get("http", {}).get("paths", []):
                assert path["path"].startswith("/"), "as Kubernetes wants it"
                yield expression(path["path"], path["pathType"])


def expression(path: str, kind: str) -> re.Pattern[str]:
    """Write a path as an expression, by its type in an Ingress or an HTTPRoute."""
    if path.endswith("$"):  # Traefik's, and so written by the chart
        return re.compile(path)
    # What is the controller's own matter, Traefik takes for a prefix, as nginx does.
    return re.compile(re.escape(path) + ("" if kind == "Exact" else "(/.*)?"))


def test_a_cluster_starts_traefik_as_one_machine_does() -> None:
    """Flag by flag: what logs tell, what headers may be, how long a request may take."""
    text = (SHIPPED / STATIC).read_text(encoding="utf-8").replace("#tls# ", "")
    transport = source()["serversTransports"]["reach"]
    wanted = dict(leaves({**yaml.safe_load(text), "serversTransport": transport}))
    told = dict(flag.removeprefix("--").split("=", 1) for flag in shipped_arguments())
    assert {path: as_flag(value) for path, value in wanted.items() if not is_a_place(path)} == {
        path: value for path, value in told.items() if path not in OF_A_CLUSTER
    }


def is_a_place(path: str) -> bool:
    """Whether this is said of one machine only."""
    return any(word in path for word in OF_ONE_MACHINE)


def as_flag(value: Any) -> str:
    """Write a value as flags have it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_what_a_site_sets_is_documented() -> None:
    """Each value of the edge is named in docs/guides/reverse-proxy-on-kubernetes.md."""
    page = (DEPLOY.parent / "docs" / "guides" / "reverse-proxy-on-kubernetes.md").read_text(
        encoding="utf-8"
    )
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    for name, value in values["edge"].items():
        names = [f"edge.{name}.{part}" for part in value] if isinstance(value, dict) else []
        for each in names or [f"edge.{name}"]:
            assert f"`{each}`" in page, each


def test_what_is_documented_for_a_cluster_renders() -> None:
    """The command as it is printed, with a certificate; and the policy for another's Traefik."""
    page = (DEPLOY.parent / "docs" / "guides" / "reverse-proxy-on-kubernetes.md").read_text(
        encoding="utf-8"
    )
    command = page.split("**2. Reach**")[1].split("```sh\n")[1].split("```")[0]
    words = shlex.split(command.replace("\\\n", " "))
    assert words[:5] == ["helm", "upgrade", "--install", "reach", "deploy/chart"]
    objects = list(yaml.safe_load_all(helm("template", "reach", str(CHART), *words[5:])))
    route = only(objects, "IngressRoute")
    assert route["metadata"]["namespace"] == "signup"
    assert route["spec"]["tls"] == {"secretName": "signup-tls"}
    elsewhere = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])
    policy = only(render({**LEAST, **elsewhere}), "NetworkPolicy", "api")
    assert elsewhere["networkPolicy"]["http"]["from"] in [
        rule["from"] for rule in policy["spec"]["ingress"]
    ]


def test_the_chart_carries_the_files_themselves(tmp_path: Path) -> None:
    """Links, which helm follows: the packaged chart has the files and renders the same."""
    for name, file in LINKED.items():
        assert (CHART / "files" / name).resolve() == file
    helm("package", str(CHART), "--destination", str(tmp_path))
    (package,) = tmp_path.glob("*.tgz")
    with tarfile.open(package) as packed:
        for name, file in LINKED.items():
            member = packed.extractfile(f"reach/files/{name}")
            assert member is not None
            assert member.read() == file.read_bytes()
    values = {**LEAST, "monitoring": {"enabled": True}}
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    command = ("template", "reach", str(package), "--namespace", "signup")
    text = helm(*command, "--values", str(tmp_path / "values.yaml"))
    packaged = [one for one in yaml.safe_load_all(text) if one]
    assert of_the_files(packaged) == of_the_files(render(values)) != []


def of_the_files(objects: list[Manifest]) -> list[Manifest]:
    """Pick what is made of the files: others may differ, a Secret that is made up for one."""
    kinds = {"IngressRoute", "Middleware", "ServersTransport", "PrometheusRule", "ConfigMap"}
    return [one for one in objects if one["kind"] in kinds]
