"""HTTPS is prepared: docs/guides/reverse-proxy.md turns it on with one command; so does this."""

import re
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest
import trustme

from reach.settings import Settings
from tests.support.deploy.edges import DYNAMIC, NAME, STATIC, Change, layer, running_edge
from tests.support.processes.ports import free_port
from tests.support.processes.running import running_api
from tests.support.root import ROOT


def turned_on(folder: Path) -> Path:
    """Copy the shipped files and run the page's command on them."""
    page = (ROOT / "docs" / "guides" / "reverse-proxy.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^sed .*#tls#.*$", page, flags=re.MULTILINE)
    copy = folder / "shipped"
    for file in (STATIC, DYNAMIC):
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        (copy / file).write_bytes((ROOT / "deploy" / "traefik" / file).read_bytes())
    subprocess.run(command, shell=True, cwd=copy, check=True)  # noqa: S602 - the page's own
    return copy


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_https_works_once_turned_on(
    behind: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sign-ups are answered at https, and http only leads there."""
    monkeypatch.setattr("tests.support.deploy.edges.SHIPPED", turned_on(tmp_path))
    authority, port = trustme.CA(), free_port()
    certificate = authority.issue_cert(NAME)
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    changes = [
        Change(STATIC, 'address: ":443" # ADAPT', f'address: "127.0.0.1:{port}"'),
        Change(DYNAMIC, "/etc/traefik/signup.example.com.pem", f"{tmp_path}/both.pem"),
        Change(DYNAMIC, "/etc/traefik/signup.example.com.key", f"{tmp_path}/both.pem"),
    ]
    context = ssl.create_default_context()
    authority.configure_trust(context)
    settings = behind.model_copy(update={"public_url": f"https://{NAME}"})
    async with (
        running_api(settings),
        running_edge(tmp_path, (settings.port, settings.port), changes) as edge,
    ):
        async with edge.client(1) as http:
            moved = await http.post("/v1/signups", json={})
        async with httpx.AsyncClient(verify=context, trust_env=False) as http:
            answer = await http.get(
                f"https://127.0.0.1:{port}/",
                headers={"Host": NAME},
                extensions={"sni_hostname": NAME},
            )
    assert (moved.status_code, layer(moved)) == (308, "edge")
    assert moved.headers["Location"].startswith(f"https://{NAME}:{port}/")
    assert (answer.status_code, layer(answer)) == (200, "reach")
    assert "max-age=31536000" in answer.headers["Strict-Transport-Security"]
