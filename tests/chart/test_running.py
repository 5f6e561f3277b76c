"""What the chart says of Reach's processes is true of them, in the environment of their pods."""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import httpx
import pytest

from reach.limits.limiter import require_one_count
from reach.settings import Settings, load, unknown_variables
from reach.settings.inbound import Bind
from tests.support.clock import wait_until
from tests.support.database.databases import create_database, drop_database, postgres_server
from tests.support.deploy.chart import (
    SECRET_KEY,
    VALUES,
    Manifest,
    container_of,
    only,
    pod_of,
    site,
)
from tests.support.http.clients import NO_CERTIFICATES
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.servers.mail import Authority
from tests.support.servers.postgres import NoPostgres

#: By the name of a Secret and its key.
Secrets = Mapping[tuple[str, str], str]
REFERENCE = re.compile(r"\$\$\((?P<escaped>[\w.-]+)\)|\$\((?P<name>[\w.-]+)\)")
MOUNTED = "/etc/reach"


def environment(thing: Manifest, secrets: Secrets, folder: Path) -> dict[str, str]:
    """Make the variables of Reach's container; what it mounts is in ``folder`` instead."""
    found: dict[str, str] = {}
    for variable in container_of(thing)["env"]:
        if "value" in variable:
            text = REFERENCE.sub(lambda one: _resolved(one, found), variable["value"])
            found[variable["name"]] = text.replace(MOUNTED, str(folder))
        else:
            source = variable["valueFrom"]["secretKeyRef"]
            found[variable["name"]] = secrets[source["name"], source["key"]]
    return found


def _resolved(one: re.Match[str], before: Mapping[str, str]) -> str:
    """https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables."""
    if one["escaped"] is not None:
        return f"$({one['escaped']})"
    return before.get(one["name"], one[0])


def mount(thing: Manifest, secrets: Secrets, folder: Path) -> None:
    """Put the files of Secrets where ``environment`` says that they are."""
    pod = pod_of(thing)
    assert pod is not None
    places = {one["name"]: one["mountPath"] for one in container_of(thing)["volumeMounts"]}
    for volume in pod["volumes"]:
        place = folder / places[volume["name"]].removeprefix(MOUNTED).lstrip("/")
        for item in volume.get("secret", {}).get("items", ()):
            place.mkdir(parents=True, exist_ok=True)
            text = secrets[volume["secret"]["secretName"], item["key"]]
            (place / item["path"]).write_text(text, encoding="utf-8")
        if "configMap" in volume:
            place.mkdir(parents=True, exist_ok=True)


def secrets_of(objects: list[Manifest]) -> dict[tuple[str, str], str]:
    """List what a release's own Secrets hold, in clear text."""
    return {
        (one["metadata"]["name"], key): text
        for one in objects
        if one["kind"] == "Secret"
        for key, text in one.get("stringData", {}).items()
    }


SERVICES = ("api", "worker")
#: A password that no URL holds as it is.
HOSTILE = "a/b@c%41:d#$(HOME)"
PASSWORD_KEYS = ("database-password", "redis-password", "smtp-user", "smtp-password")
#: Postgres itself, where the database's URL may lead through a pooler.
DIRECT_URL = "postgresql://reach@postgres/reach"
COMPONENTS = {"Deployment": SERVICES, "Job": ("migrate",), "Pod": ("check",)}
#: What ending takes, beyond the grace time.
MARGIN_SECONDS = 5


def secrets(authority: Authority, database_url: str, **urls: str) -> Secrets:
    """Give what the Secrets of all sites hold."""
    ca = authority.file.read_text(encoding="utf-8")
    smtp, redis = urls.get("smtp", "smtp://127.0.0.1:9"), urls.get("redis", "redis://127.0.0.1:9/0")
    return {
        ("reach", "url"): database_url,
        ("reach", "direct"): DIRECT_URL,
        ("reach", "redis"): redis,
        ("reach", "smtp"): smtp,
        ("reach", "secret-key"): SECRET_KEY,
        **{("reach", key): HOSTILE for key in PASSWORD_KEYS},
        ("reach-secret-key", "secret-key"): SECRET_KEY,
        ("reach-db-app", "uri"): database_url,
        ("reach-valkey", "url"): redis,
        ("reach-urls", "smtp-url"): smtp,
        ("reach-db-ca", "ca.crt"): ca,
        ("relay-ca", "ca.crt"): ca,
        ("reach-dkim", "dkim.pem"): "a key",
        ("reach-oidc", "client-secret"): HOSTILE,
        ("reach-bounces", "url"): "imaps://bounces:secret@imap.example.com",
    }


def components(name: str) -> Iterator[tuple[str, Manifest]]:
    """List what a site runs."""
    for kind, names in COMPONENTS.items():
        for component in names:
            yield component, only(site(name), kind, component)
    if name == "everything":
        yield "inbound", only(site(name), "Deployment", "inbound")


def loaded(variables: Mapping[str, str]) -> Settings:
    """Read the settings as a container would, which has these variables and no others."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        assert unknown_variables() == []
        return load()


@pytest.mark.parametrize("name", VALUES)
def test_reach_reads_what_the_chart_gives_it(
    name: str, tmp_path: Path, authority: Authority
) -> None:
    """Every variable is a setting, and every value is one that it takes."""
    for component, thing in components(name):
        given = {**secrets(authority, "postgresql://reach@db/reach"), **secrets_of(site(name))}
        mount(thing, given, tmp_path)
        variables = environment(thing, given, tmp_path)
        settings = loaded(variables)
        assert not settings.database.is_sqlite
        if component == "migrate":
            assert "REACH_SECRET_KEY" not in variables
            continue
        settings.require_safe_exposure(has_mailbox=False)
        require_one_count(settings)
        assert bool(settings.proxies) == (component in ("api", "check"))
        assert bool(settings.redis) == (component in ("api", "check"))
        assert bool(settings.smtp) == (component in ("worker", "check"))
        assert bool(settings.bounce_mailbox) == (component == "inbound")
        assert (settings.bind == Bind("lmtp", "0.0.0.0", 8024)) == (component == "inbound")


def test_postgres_itself_is_reached_as_safely_as_its_pooler(
    tmp_path: Path, authority: Authority
) -> None:
    """By everything that may need it, with the same TLS and the same login."""
    for component, thing in components("everything"):
        given = secrets(authority, "postgresql://reach@pooler/reach")
        mount(thing, given, tmp_path)
        settings = loaded(environment(thing, given, tmp_path))
        usual, direct = settings.database, settings.direct_database
        assert (usual.places[0].host, direct.places[0].host) == ("pooler", "postgres"), component
        assert direct.parameters == usual.parameters
        assert direct.connect_args["ssl"].check_hostname
        assert direct.login.password == usual.login.password == HOSTILE


@pytest.mark.parametrize("name", VALUES)
def test_a_pod_has_time_to_finish(name: str, tmp_path: Path, authority: Authority) -> None:
    """Kubernetes kills it well after Reach itself has given up waiting, preStop included."""
    for component in SERVICES:
        deployment = only(site(name), "Deployment", component)
        given = {**secrets(authority, "postgresql://reach@db/reach"), **secrets_of(site(name))}
        mount(deployment, given, tmp_path)
        settings = loaded(environment(deployment, given, tmp_path))
        pod, container = pod_of(deployment), container_of(deployment)
        assert pod is not None
        ports = {one["name"]: one["containerPort"] for one in container["ports"]}
        assert settings.metrics_port == ports["metrics"]
        assert settings.metrics_host == "0.0.0.0"
        before = 0
        if component == "api":
            before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
            assert (settings.port, settings.host) == (ports["http"], "0.0.0.0")
            # A server that says "not now" after so long must not look as if it hung.
            assert container["readinessProbe"]["timeoutSeconds"] > settings.database_seconds
        needed = before + settings.grace_seconds + MARGIN_SECONDS
        assert pod["terminationGracePeriodSeconds"] >= needed


def test_what_a_site_sets_arrives_as_it_was_written(tmp_path: Path, authority: Authority) -> None:
    """Large numbers, YAML's truths, dollars: whatever helm and Kubernetes make of them between."""
    given = secrets(authority, "postgresql://reach@db/reach")
    deployment = only(site("everything"), "Deployment", "api")
    mount(deployment, given, tmp_path)
    variables = environment(deployment, given, tmp_path)
    settings = loaded(variables)
    assert settings.keep_messages_days == 1_000_000
    assert (settings.altcha, settings.limit_api) == (True, "off")
    assert settings.brand_name == "Ours: $(HOSTNAME)"
    assert (settings.processes, settings.grace_seconds) == (2, 33)
    assert settings.database_url.get_secret_value() == (
        f"postgresql://reach@db/reach?sslmode=verify-full&sslrootcert={tmp_path}/database/ca.crt"
    )
    assert settings.database.login.password == HOSTILE
    assert settings.redis is not None
    assert settings.redis.login.password == HOSTILE
    worker = only(site("everything"), "Deployment", "worker")
    mount(worker, given, tmp_path / "worker")
    sending = loaded(environment(worker, given, tmp_path / "worker")).smtp
    assert sending is not None
    assert (sending.username, sending.password) == (HOSTILE, HOSTILE)
    assert variables["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://collector.monitoring.svc:4319"
    assert variables["TZ"] == "UTC"


def probes(deployment: Manifest, ports: Mapping[str, int]) -> Iterator[str]:
    """Give the address of each probe, at the port that stands for its name here."""
    container = container_of(deployment)
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        if probe in container:
            asked = container[probe]["httpGet"]
            yield f"http://127.0.0.1:{ports[asked['port']]}{asked['path']}"


def answers(url: str) -> bool:
    """Whether a probe would succeed."""
    try:
        return (
            httpx.get(url, verify=NO_CERTIFICATES, trust_env=False, timeout=5).status_code
            == httpx.codes.OK
        )
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("component", SERVICES)
def test_the_probes_find_the_running_service(
    component: str, postgres: str, redis_url: str, tmp_path: Path, authority: Authority
) -> None:
    """Started as its pod starts it; only hosts and ports are this machine's."""
    given = secrets(authority, postgres, redis=redis_url)
    deployment = only(site("values-minikube.yaml"), "Deployment", component)
    given = {**given, ("reach-urls", "smtp-url"): "smtp://127.0.0.1:9"}
    ports = {"http": free_port(), "metrics": free_port()}
    here = {
        "REACH_HOST": "127.0.0.1",
        "REACH_PORT": str(ports["http"]),
        "REACH_METRICS_HOST": "127.0.0.1",
        "REACH_METRICS_PORT": str(ports["metrics"]),
    }
    variables = environment(deployment, given, tmp_path)
    variables |= {name: here[name] for name in here.keys() & variables.keys()}
    arguments = container_of(deployment)["args"]
    with ReachProcess(*arguments, environment=variables) as process:
        urls = list(probes(deployment, ports))
        assert len(urls) == (3 if component == "api" else 2)
        for url in urls:
            wait_until(partial(_answers_or_ends, process, url), seconds=30)
            assert process.exit_code is None, process.output + process.errors
        assert answers(f"http://127.0.0.1:{ports['metrics']}/metrics")
        assert (
            "reach_build_info"
            in httpx.get(
                f"http://127.0.0.1:{ports['metrics']}/metrics",
                verify=NO_CERTIFICATES,
                trust_env=False,
            ).text
        )
        assert process.stop() == 0
        assert "is no setting of Reach" not in process.errors


def _answers_or_ends(process: ReachProcess, url: str) -> bool:
    return process.exit_code is not None or answers(url)


@pytest.fixture
def empty_database(request: pytest.FixtureRequest) -> Iterator[str]:
    """Offer a Postgres database without any schema."""
    try:
        server = postgres_server(request.config)
    except NoPostgres as reason:
        pytest.skip(str(reason))
    url = create_database(server)
    yield url
    drop_database(server, url)


def test_the_migration_job_migrates(
    empty_database: str, tmp_path: Path, authority: Authority
) -> None:
    """With the environment that its pod has: the database's URL, and nothing else."""
    job = only(site("values-minikube.yaml"), "Job", "migrate")
    for url, code in (
        (empty_database, 0),
        # Tried again: the database may be starting.
        (f"postgresql://reach@127.0.0.1:{free_port()}/reach", 1),
        # Given up: podFailurePolicy.
        ("mysql://reach@db/reach", 2),
    ):
        variables = environment(job, secrets(authority, url), tmp_path)
        assert [name for name in variables if name.startswith("REACH_")] == ["REACH_DATABASE_URL"]
        with ReachProcess(*container_of(job)["args"], environment=variables) as process:
            assert process.wait(60) == code, process.output + process.errors
            assert ("The schema is at" in process.output) == (code == 0)
