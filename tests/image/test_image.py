"""The image: what it is told, what is in it, and that it signs people up."""

import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.clock import eventually
from tests.support.deploy.image import Image
from tests.support.http.clients import NO_CERTIFICATES
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.processes.reach import ADA
from tests.support.processes.running import ended, everything, said
from tests.support.root import ROOT
from tests.support.servers.mail import MailServer

LAY_OUT = """
set -e
root=$1 volume=$2
shift 2
mount --make-rprivate /
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --bind "$volume" "$root/var/lib/reach"
for shell in sh dash bash; do
  [ ! -e "$root/usr/bin/$shell" ] || mount --bind /dev/null "$root/usr/bin/$shell"
done
exec "$@"
"""
OF_ITS_OWN = ("--mount", "--pid", "--fork", "--kill-child=SIGKILL")


class Container(ReachProcess):
    """One process of the image, on this machine's own network."""

    def __init__(
        self,
        image: Image,
        *arguments: str,
        volume: Path,
        variables: Mapping[str, str],
        entrypoint: Sequence[str] | None = None,
    ) -> None:
        """Run the image's entrypoint with ``arguments``, or another one."""
        super().__init__(*arguments)
        self.volume = volume
        told = {**image.environment, **variables}
        user, _, group = image.config["User"].partition(":")
        assert user.isdecimal(), "a number: what forbids root cannot look names up"
        assert group.isdecimal()
        self._command = (
            *("unshare", *OF_ITS_OWN, "--", "sh", "-c", LAY_OUT, "sh"),
            *(str(image.root), str(volume)),
            *("setpriv", "--no-new-privs", "--bounding-set=-all,+setuid,+setgid,+sys_chroot"),
            *("env", "-i", *(f"{name}={value}" for name, value in told.items())),
            *(_here("chroot"), f"--userspec={user}:{group}", "--groups=", str(image.root)),
            # An engine looks it up so too; chroot itself runs with the image's PATH.
            *(image.config["Entrypoint"] if entrypoint is None else entrypoint),
            *arguments,
        )

    @property
    def first(self) -> psutil.Process:
        """Process 1."""
        (found,) = psutil.Process(self.pid).children()
        return found

    def stop(self, seconds: float = 15) -> int:
        """Ask it to end (SIGTERM), and return its exit code."""
        self.first.terminate()
        return self.wait(seconds)


def _here(program: str) -> str:
    """Find a program of this machine's, where the image's PATH holds."""
    found = shutil.which(program)
    assert found is not None, program
    return found


pytestmark = pytest.mark.timeout(400)

#: What is installed may grow by a little. The base is some 120 MB more. Babel has dates for every
#: language there is, in 33 MB.
MOST_ADDED_BYTES = 127_000_000
USER = 10001


@pytest.fixture
def variables(mail_server: MailServer) -> dict[str, str]:
    """Say how the parts of one Reach find each other."""
    return {
        "REACH_HOST": "127.0.0.1",
        "REACH_PORT": str(free_port()),
        "REACH_SECRET_KEY": "a-key-that-is-long-enough-for-tests",
        "REACH_SMTP_URL": mail_server.url,
    }


@pytest.fixture
def run(image: Image, volume: Path, variables: dict[str, str]) -> Callable[..., Container]:
    """Make containers of it, each with its own port for metrics."""

    def make(*arguments: str, **changes: str) -> Container:
        given = {**variables, "REACH_METRICS_PORT": str(free_port()), **changes}
        made = Container(image, *arguments, volume=volume, variables=given)
        made.environment |= given
        return made

    return make


@asynccontextmanager
async def running(container: Container, words: str) -> AsyncIterator[Container]:
    """Run it; it works when this begins."""
    with container:
        await said(container, words)
        yield container


async def health(image: Image, of: Container) -> int:
    """Run the image's HEALTHCHECK beside a container, with its variables: its exit code."""
    kind, *command = image.config["Healthcheck"]["Test"]
    assert kind == "CMD", "as a list: there is no shell"
    given = {k: v for k, v in of.environment.items() if k.startswith("REACH_")}
    with Container(image, volume=of.volume, variables=given, entrypoint=command) as asking:
        code = await ended(asking, 30)
    assert code in (0, 1), everything(asking)
    return code


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> dict[str, str]:
    """Name the database: a file in the volume, or a server."""
    if request.param == "sqlite":
        return {}
    return {"REACH_DATABASE_URL": request.getfixturevalue("postgres")}


async def test_the_image_signs_someone_up(
    image: Image,
    run: Callable[..., Container],
    database: dict[str, str],
    variables: dict[str, str],
    mail_server: MailServer,
) -> None:
    """migrate, api and worker: an email arrives. As the user 10001, writing to no file but theirs.

    Its health is what the process's is: good while it runs, and not once it has stopped.
    """
    variables |= database
    with run("migrate") as migrating:
        assert await ended(migrating, 60) == 0, everything(migrating)
    async with (
        running(run("worker"), "worker started") as worker,
        running(run(*image.config["Cmd"]), "api started") as api,
        httpx.AsyncClient(verify=NO_CERTIFICATES, trust_env=False) as http,
    ):
        url = f"http://127.0.0.1:{variables['REACH_PORT']}/v1/signups"
        assert (await http.post(url, json=ADA)).status_code == httpx.codes.ACCEPTED
        await eventually(lambda: mail_server.recipients == [ADA["email"]], 20)
        for part in (api, worker):
            told = process_status(part.first)
            assert set(told["Uid"].split()) == set(told["Gid"].split()) == {str(USER)}
            assert told["NSpid"].split()[-1] == "1"
            assert int(told["CapPrm"], 16) == int(told["CapEff"], 16) == 0
            assert told["NoNewPrivs"] == "1"
            assert can_write(part.first) == {"/tmp", "/var/lib/reach"}
            assert await health(image, part) == 0
            part.first.terminate()
            assert await ended(part, 30) == 0, everything(part)
            assert await health(image, part) == 1
            assert part.errors == ""


def process_status(process: psutil.Process) -> dict[str, str]:
    """Read what the system says of a process."""
    lines = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def can_write(process: psutil.Process) -> set[str]:
    """List what of its file systems is not mounted read-only, devices and /proc apart."""
    lines = Path(f"/proc/{process.pid}/mountinfo").read_text(encoding="utf-8").splitlines()
    mounts = [line.split()[4:6] for line in lines]
    inside = {place: how.split(",") for place, how in mounts}
    return {
        place
        for place, how in inside.items()
        if "rw" in how and not place.startswith(("/dev", "/proc", "/usr/bin/"))
    }


async def test_process_1_ends_those_it_started_and_leaves_none_unburied(
    run: Callable[..., Container],
) -> None:
    """`reach api --processes 2`: one that dies is replaced and reaped; SIGTERM ends all with 0."""
    with run("migrate") as migrating:
        assert await ended(migrating, 60) == 0
    unlimited = {"REACH_LIMIT_SIGNUPS": "off", "REACH_LIMIT_API": "off"}
    others = {"REACH_LIMIT_FAILED_KEYS": "off", "REACH_PROCESSES": "2"}
    with run("api", **unlimited, **others) as container:
        await said(container, "Application startup complete", 2)
        first, serving = container.first, container.children
        assert len(serving) == 2
        killed = serving.pop()
        killed.send_signal(signal.SIGKILL)
        await eventually(lambda: len(container.children) == 2 and not killed.is_running(), 30)
        states = [child.status() for child in first.children(recursive=True)]
        assert psutil.STATUS_ZOMBIE not in states
        family = first.children(recursive=True)
        first.terminate()
        assert await ended(container, 30) == 0, everything(container)
        assert not [child for child in family if child.is_running()]


def test_it_is_told_what_engines_need_to_know(image: Image) -> None:
    """User, entrypoint, signal and health, none of which needs a shell; which Reach it is."""
    config = image.config
    assert config["User"] == f"{USER}:{USER}"
    assert config["Entrypoint"] == ["reach"]
    assert config["Cmd"] == ["api"]
    assert config["StopSignal"] == "SIGTERM"
    assert set(config["ExposedPorts"]) == {"8000/tcp", "9090/tcp"}
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert config["Healthcheck"]["Interval"] >= 10**9
    labels = {k.rpartition(".")[2]: v for k, v in config["Labels"].items() if "opencontainers" in k}
    version = (ROOT / "pyproject.toml").read_text(encoding="utf-8").split('version = "')[1]
    assert labels["version"] == version.partition('"')[0]
    assert len(labels["revision"]) == 40
    assert labels["title"] == "Reach"


def test_it_holds_no_secret_and_nothing_of_the_build(image: Image, tmp_path: Path) -> None:
    """No variable, no line of its history, no file of what the build was lent."""
    assert {name for name in image.environment if name.startswith("REACH_")} == {
        "REACH_DATA_DIR",
        "REACH_HOST",
        "REACH_PORT",
        "REACH_METRICS_PORT",
    }
    said_of_it = str(image.inspected)
    for word in ("SECRET_KEY", "PASSWORD", "PIP_", "://127", str(tmp_path.parents[1])):
        assert word not in said_of_it
    for place in ("etc/pip.conf", "run/secrets", "source", "wheels", "build"):
        assert not (image.root / place).exists()
    assert not list((image.root / "opt/reach").rglob("pip*.conf"))
    assert not (image.root / "opt/reach/bin/pip").exists()


def test_it_is_small_and_compiled(image: Image) -> None:
    """Little is added to the base; what Reach imports is compiled, for it cannot be later."""
    added = size_bytes(image.root) - size_bytes(image.base)
    assert 0 < added < MOST_ADDED_BYTES
    (packages,) = image.root.glob("opt/reach/lib/python3.*/site-packages")
    for name in ("reach", "fastapi", "sqlalchemy/engine", "uvicorn", "aiosmtplib"):
        assert list((packages / name / "__pycache__").glob("__init__.*.pyc")), name
    assert not list(packages.glob("*/tests"))
    assert (packages / "dkim/__init__.py").exists()
    assert (packages / "checkdmarc/__init__.py").exists()
    assert (packages / "opentelemetry/sdk").is_dir()


def size_bytes(folder: Path) -> int:
    """Add up what an archive of it would hold."""
    return sum(
        os.lstat(Path(place, name)).st_size for place, _, names in os.walk(folder) for name in names
    )
