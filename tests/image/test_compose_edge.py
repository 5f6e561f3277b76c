"""Traefik as compose.yaml runs it: the shipped files, with nothing adapted but names and places."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import yaml

from reach.settings import Settings
from tests.support.deploy.edges import SHIPPED, STATIC, Change, changed, layer
from tests.support.deploy.image import DEPLOY, prepare, services
from tests.support.http.clients import NO_CERTIFICATES
from tests.support.processes.ports import free_port
from tests.support.processes.reach import ADA, running_reach
from tests.support.servers.traefik import NoTraefik, Traefik, binary


@pytest.fixture(autouse=True)
def _needs_traefik() -> None:
    try:
        binary()
    except NoTraefik as reason:
        pytest.skip(str(reason))


def test_only_names_and_places_differ_from_the_shipped_edge(tmp_path: Path) -> None:
    """Every limit, rule and guard is the shipped one: there is no second list of them."""
    prepare(tmp_path, "https://signup.example.org")
    made = yaml.safe_load((tmp_path / "edge/reach.yaml").read_text(encoding="utf-8"))["http"]
    shipped = yaml.safe_load((SHIPPED / "dynamic/reach.yaml").read_text(encoding="utf-8"))["http"]
    for router in shipped["routers"].values():
        router["rule"] = router["rule"].replace("signup.example.com", "signup.example.org")
    (server,) = made["services"]["reach"]["loadBalancer"]["servers"]
    shipped["services"]["reach"]["loadBalancer"]["servers"] = [server]
    assert made == shipped
    dockerfile = (DEPLOY / "docker/Dockerfile").read_text(encoding="utf-8")
    (port,) = re.findall(r"REACH_PORT=(\d+)", dockerfile)
    assert server == {"url": f"http://api:{port}"}
    published = services()["traefik"]["ports"][0].rpartition(":")[2]
    assert f'address: ":{published}"' in (SHIPPED / STATIC).read_text(encoding="utf-8")


async def test_a_real_traefik_lets_sign_ups_through(
    make_settings: Callable[..., Settings], sqlite: str, tmp_path: Path
) -> None:
    """Under the name in REACH_PUBLIC_URL, and to nobody under another."""
    settings = make_settings(database_url=sqlite)
    await asyncio.to_thread(prepare, tmp_path, "http://localhost:8080")
    port, inside = free_port(), free_port()
    async with running_reach(settings) as reach:
        traefik = Traefik(laid_out(tmp_path, port, inside, reach.settings.port), inside)
        try:
            await asyncio.to_thread(traefik.start)
            async with httpx.AsyncClient(
                verify=NO_CERTIFICATES, trust_env=False, timeout=20
            ) as http:
                url = f"http://127.0.0.1:{port}/v1/signups"
                answer = await http.post(url, json=ADA, headers={"Host": "localhost:8080"})
                assert (answer.status_code, layer(answer)) == (202, "reach")
                other = await http.post(url, json=ADA, headers={"Host": "signup.example.com"})
                assert (other.status_code, layer(other)) == (404, "edge")
        finally:
            traefik.close()


def laid_out(folder: Path, port: int, inside: int, server: int) -> Path:
    """Put what was prepared on this machine's ports; give the static configuration."""
    dynamic = folder / "edge" / "reach.yaml"
    there = changed(
        dynamic.read_text(encoding="utf-8"),
        Change(Path("reach.yaml"), "http://api:8000", f"http://127.0.0.1:{server}"),
    )
    dynamic.chmod(0o644)
    dynamic.write_text(there, encoding="utf-8")
    text = (SHIPPED / STATIC).read_text(encoding="utf-8")
    for old, new in (
        ('address: ":80" # ADAPT', f'address: "127.0.0.1:{port}"'),
        ("127.0.0.1:8082", f"127.0.0.1:{inside}"),
        ("directory: dynamic", f"directory: {dynamic.parent}"),
        ("ping: {}", "ping: {}\napi: {insecure: true, dashboard: false}"),
    ):
        text = changed(text, Change(STATIC, old, new))
    static = folder / "traefik.yaml"
    static.write_text(text, encoding="utf-8")
    return static
