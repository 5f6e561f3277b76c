"""deploy/compose.yaml: Compose takes it, and what is in it fits what it names."""

import re
import subprocess
import sys
from ipaddress import IPv4Network, ip_address, ip_network
from pathlib import Path

import pytest
import yaml

from reach.settings import load, unknown_variables
from tests.support.deploy.image import (
    DEPLOY,
    FILE,
    NoImage,
    Service,
    compose,
    document,
    prepare,
    services,
)
from tests.support.root import ROOT
from tests.support.servers.prometheus import NoPrometheus, program

SMALL = {"prepare", "migrate", "api", "worker", "postgres", "redis", "traefik", "mailpit"}
WATCHING = {
    *("prometheus", "alertmanager", "grafana"),
    *("elasticsearch", "kibana", "import", "filebeat"),
}
#: They end by themselves.
TASKS = {"prepare", "migrate", "import"}
#: Their programs write beside themselves, as the file says.
WRITING = {"elasticsearch", "kibana"}
OURS = {"migrate", "api", "worker"}
SECONDS = {"s": 1, "m": 60}


def settings_of(service: Service, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give this process the service's environment, its secrets from where they were prepared."""
    for name, value in service["environment"].items():
        monkeypatch.setenv(name, (value or "").replace("/run/reach", str(target / "reach")))


def test_it_is_what_the_specification_says() -> None:
    """By the schema of Compose's files."""
    checker = Path(sys.executable).parent / "check-jsonschema"
    command = [str(checker), "--builtin-schema", "vendor.compose-spec", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_compose_takes_it(tmp_path: Path) -> None:
    """`docker compose config`: the small set alone, and all of it with its profile."""
    try:
        command = [*compose(tmp_path), "--file", str(FILE)]
    except NoImage as reason:
        pytest.skip(str(reason))
    for flags, expected in (((), SMALL), (("--profile", "watch"), SMALL | WATCHING)):
        done = subprocess.run(
            [*command, *flags, "config", "--services"], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert set(done.stdout.split()) == expected


def test_the_profiles_are_two() -> None:
    """Nothing of the small set needs what only watches it."""
    found = services()
    assert {name for name, one in found.items() if "profiles" not in one} == SMALL
    assert {name for name, one in found.items() if one.get("profiles") == ["watch"]} == WATCHING
    for name in SMALL:
        assert set(found[name].get("depends_on", {})) <= SMALL, name


@pytest.mark.parametrize("name", sorted(SMALL | WATCHING))
def test_every_service_is_held_in(name: str) -> None:
    """Pinned, limited, without capabilities or ways to more, on a file system it cannot write."""
    service = services()[name]
    _, _, tag = service["image"].rpartition(":")
    assert re.fullmatch(r"v?\d+\.\d+(\.\d+)?(-\w+)?", tag), service["image"]
    limits = service["deploy"]["resources"]["limits"]
    assert limits["cpus"]
    assert limits["memory"]
    assert service["cap_drop"] == ["ALL"]
    assert service.get("cap_add", []) == (["DAC_READ_SEARCH"] if name == "filebeat" else [])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is (name not in WRITING)
    assert "privileged" not in service
    assert "docker.sock" not in str(service)
    assert service["logging"]["options"]["max-size"]


@pytest.mark.parametrize("name", sorted(SMALL | WATCHING))
def test_every_service_says_how_it_is(name: str) -> None:
    """By a command that needs no shell; and who waits for it waits for that."""
    found = services()
    service = found[name]
    if name in TASKS:
        assert service["healthcheck"] == {"disable": True}
    elif name in OURS:
        assert "healthcheck" not in service, "the image has one"
    else:
        assert service["healthcheck"]["test"][0] == "CMD"
    for other, how in service.get("depends_on", {}).items():
        expected = "service_completed_successfully" if other in TASKS else "service_healthy"
        assert how["condition"] == expected, other


def test_only_the_edge_is_open_and_the_rest_is_on_loopback() -> None:
    """By default even that is on loopback: EDGE_ADDRESS opens it."""
    published = {name: one["ports"] for name, one in services().items() if "ports" in one}
    assert published.keys() == {"traefik", "mailpit", "grafana", "kibana"}
    for (port,) in published.values():
        assert port.startswith("127.0.0.1:")
    assert "${EDGE_ADDRESS:-127.0.0.1}" in FILE.read_text(encoding="utf-8")
    networks = document()["networks"]
    assert networks["data"]["internal"] is networks["logs"]["internal"] is True
    for name in ("postgres", "redis"):
        assert services()[name]["networks"] == ["data"]


def test_traefiks_address_is_given_to_nobody_else() -> None:
    """The first to come would have it: Traefik could not start, and the other one were trusted."""
    (range_,) = document()["networks"]["edge"]["ipam"]["config"]
    subnet, given = ip_network(range_["subnet"]), ip_network(range_["ip_range"])
    assert isinstance(given, IPv4Network)
    assert given.subnet_of(IPv4Network(subnet))
    fixed = [
        ip_address(network["ipv4_address"])
        for one in services().values()
        if isinstance(one.get("networks"), dict)
        for network in one["networks"].values()
    ]
    assert len(fixed) == 1
    assert fixed[0] in subnet
    assert fixed[0] not in given


def test_the_image_is_built_once_and_never_fetched() -> None:
    """By the first service; somewhere on the Internet there may be another of its name."""
    found = services()
    ours = OURS | {"prepare"}
    assert {name for name, one in found.items() if "build" in one} == {"prepare"}
    assert {found[name]["image"] for name in ours} == {"reach:0.1.0"}
    assert {name: found[name]["pull_policy"] for name in ours} == {
        "prepare": "build",
        **dict.fromkeys(OURS, "never"),
    }


def test_everything_that_is_mounted_is_there() -> None:
    """Files that exist, read-only; and volumes that are declared."""
    declared = set(document()["volumes"])
    used = set()
    for name, service in services().items():
        for volume in service.get("volumes", []):
            source, _, rest = volume.partition(":")
            if source.startswith("."):
                assert (DEPLOY / source).exists(), f"{name}: {source}"
            if source.startswith((".", "/")):
                assert rest.endswith(":ro"), f"{name}: {source}"
            else:
                used.add(source)
    assert used == declared


def test_nothing_in_it_is_a_secret() -> None:
    """Secrets are made by the first start, in files, and each is shown to who needs it only."""
    for service in services().values():
        for name, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|TOKEN", name):
                assert name.endswith("_FILE"), name
                assert value.startswith("/run/"), name
    readers = {
        name: [volume.partition(":")[0] for volume in one.get("volumes", [])]
        for name, one in services().items()
    }
    for secret, who in (("reach", OURS), ("postgres", {"postgres"}), ("grafana", {"grafana"})):
        assert {n for n, all_ in readers.items() if f"{secret}-secrets" in all_} == who | {
            "prepare"
        }


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_setting_is_one_of_reach(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And together they are such as Reach starts with, on the secrets of the first start."""
    prepare(tmp_path, "http://localhost:8080")
    service = services()[name]
    settings_of(service, tmp_path, monkeypatch)
    # What the image itself sets.
    monkeypatch.setenv("REACH_HOST", "0.0.0.0")
    settings = load()
    assert unknown_variables() == []
    settings.require_safe_exposure(has_mailbox=False)
    assert settings.is_exposed
    assert settings.database.url.host == "postgres"
    password = (tmp_path / "postgres" / "password").read_text(encoding="ascii")
    assert settings.database.url.password == password
    edge = document()["services"]["traefik"]["networks"]["edge"]["ipv4_address"]
    assert [str(network) for network in settings.proxies] == [f"{edge}/32"]
    if name != "migrate":
        grace = service["stop_grace_period"]
        assert int(grace[:-1]) * SECONDS[grace[-1]] > settings.grace_seconds + 5


def test_secrets_are_made_once_and_no_two_are_alike(tmp_path: Path) -> None:
    """A second start keeps them; another machine has others."""
    made = []
    for place, times in (("one", 2), ("other", 1)):
        for _ in range(times):
            prepare(tmp_path / place, "http://localhost:8080")
            names = ("reach/secret-key", "postgres/password", "grafana/admin-password")
            made.append([(tmp_path / place / name).read_text(encoding="ascii") for name in names])
    assert made[0] == made[1]
    assert len({*made[0], *made[2]}) == 6
    assert all(len(secret) >= 32 for secret in made[0])


def test_prometheus_takes_what_is_made_for_it(tmp_path: Path) -> None:
    """With the shipped rules, and the services' own names and ports."""
    try:
        promtool = program("promtool")
    except NoPrometheus as reason:
        pytest.skip(str(reason))
    prepare(tmp_path, "http://localhost:8080")
    made = tmp_path / "prometheus" / "prometheus.yaml"
    done = subprocess.run(
        [promtool, "check", "config", str(made)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = yaml.safe_load(made.read_text(encoding="utf-8"))["scrape_configs"]
    targets = {job["static_configs"][0]["targets"][0] for job in jobs}
    dockerfile = (ROOT / "deploy/docker/Dockerfile").read_text(encoding="utf-8")
    (port,) = re.findall(r"REACH_METRICS_PORT=(\d+)", dockerfile)
    assert targets == {f"api:{port}", f"worker:{port}"}
