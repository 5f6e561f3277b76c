"""Logging in by a token (XOAUTH2) instead of a password, and by a client's certificate."""

import asyncio
import json
import ssl
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, auth_mechanism
from pydantic import SecretStr

from reach.messages.outcome import Sent, Unavailable
from reach.settings import BadSettings, Settings
from reach.smtp.opening import Opener
from reach.smtp.sender import Sender
from tests.support.messages import send, sender_to, settings_for
from tests.support.servers.mail import Authority, MailServer

USER = "reach@example.org"
SECRET, REFRESH = "secret + %41", "1//refresh"


class TokenEndpoint:
    """An authorization server that hands out token-1, token-2 … over HTTP, on loopback."""

    def __init__(self) -> None:
        self.forms: list[dict[str, str]] = []
        self.answer: tuple[int, dict[str, Any]] | None = None
        self.lasts: int = 3600
        self.url = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator["TokenEndpoint"]:
        """Serve."""
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/token"
        async with server:
            yield self

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        size = int(head.split("content-length:")[1].split("\r\n")[0])
        form = parse_qs((await reader.readexactly(size)).decode(), strict_parsing=True)
        self.forms.append({name: value for name, (value,) in form.items()})
        given = {"access_token": f"token-{len(self.forms)}", "expires_in": self.lasts}
        status, document = self.answer or (200, {"token_type": "Bearer", **given})
        body = json.dumps(document).encode()
        lines = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(lines.encode() + body)
        writer.close()


class Google:
    """Logs in who shows one of ``good``; otherwise says why in a challenge, then 535."""

    def __init__(self) -> None:
        self.good = {"token-1"}
        self.shown: list[str] = []
        self.recipients: list[str] = []

    @auth_mechanism("XOAUTH2")
    async def auth_xoauth2(self, server: SMTP, args: list[str]) -> AuthResult:
        """RFC 7628's predecessor, as Google describes it."""
        user, bearer = b64decode(args[1]).decode().rstrip("\1").split("\1")
        assert user == f"user={USER}"
        token = bearer.removeprefix("auth=Bearer ")
        self.shown.append(token)
        if token in self.good:
            return AuthResult(success=True)
        await server.challenge_auth('{"status":"400"}')
        return AuthResult(success=False, handled=False, message=f"535 5.7.8 Bad token {token}")

    async def handle_RCPT(self, server: SMTP, *given: Any) -> str:  # noqa: N802 - aiosmtpd's name
        """Take it from who has logged in."""
        assert server.session is not None
        assert server.session.authenticated
        assert server.envelope is not None
        server.envelope.rcpt_tos.append(given[2])
        self.recipients.append(given[2])
        return "250 2.1.5 Ok"


@asynccontextmanager
async def served(handler: Google) -> AsyncIterator[str]:
    """Serve by aiosmtpd; gives the URL that names the user alone."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(handler, auth_require_tls=False, auth_exclude_mechanism=["PLAIN", "LOGIN"]),
        "127.0.0.1",
        0,
    )
    async with server:
        yield f"smtp://{USER.replace('@', '%40')}@127.0.0.1:{server.sockets[0].getsockname()[1]}"


def settings_of(url: str, endpoint: TokenEndpoint, **changes: Any) -> Settings:
    """Settings for a refresh token, as with Google."""
    return settings_for(
        url,
        **{
            "smtp_oauth_token_url": endpoint.url,
            "smtp_oauth_client_id": "reach",
            "smtp_oauth_client_secret": SecretStr(SECRET),
            "smtp_oauth_refresh_token": SecretStr(REFRESH),
            **changes,
        },
    )


async def test_a_token_is_asked_for_once_and_replaced_when_it_is_refused() -> None:
    """Many connections wait for one answer; 535 has another one fetched, once for all of them."""
    google = Google()
    async with TokenEndpoint().running() as endpoint, served(google) as url:
        settings = settings_of(url, endpoint)
        (server,) = settings.smtp_servers
        assert server.uses_token
        sender = Sender(settings, server)
        sent = await asyncio.gather(*(send(sender) for _ in range(5)))
        assert {type(one) for one in sent} == {Sent}
        assert [form["grant_type"] for form in endpoint.forms] == ["refresh_token"]
        assert endpoint.forms[0] == {
            "grant_type": "refresh_token",
            "refresh_token": REFRESH,
            "client_id": "reach",
            "client_secret": SECRET,
        }
        await sender.close()
        google.good = {"token-2"}
        again = Sender(settings, server, tokens=sender._opener._tokens)
        sent = await asyncio.gather(*(send(again) for _ in range(3)))
        assert {type(one) for one in sent} == {Sent}
        await again.close()
        assert len(endpoint.forms) == 2
        assert len(google.recipients) == 8


async def test_what_is_wrong_is_said_without_a_secret() -> None:
    """The endpoint fails, or the mail server refuses each token and repeats it: Unavailable."""
    google = Google()
    async with TokenEndpoint().running() as endpoint, served(google) as url:
        settings = settings_of(
            url,
            endpoint,
            smtp_oauth_refresh_token="",
            smtp_oauth_scope="https://scope.test/.default",
        )
        opener = Opener(settings, settings.smtp_servers[0])
        google.good = set()
        refused = await opener.open()
        assert isinstance(refused, Unavailable)
        assert (refused.code, google.shown) == (535, ["token-1", "token-2"])
        assert "token-" not in refused.text
        assert [form["grant_type"] for form in endpoint.forms] == ["client_credentials"] * 2
        assert endpoint.forms[0]["scope"] == "https://scope.test/.default"
        said = {"error": "invalid_client", "error_description": f"bad {SECRET}"}
        for answer, words in (
            ((401, said), "HTTP 401, invalid_client"),
            ((200, {"access_token": "a b"}), "HTTP 200, no token in it"),
            ((400, {"error": SECRET}), "HTTP 400, no token in it"),
        ):
            endpoint.answer = answer
            failed = await Opener(settings, settings.smtp_servers[0]).open()
            assert isinstance(failed, Unavailable)
            assert failed.text.startswith("AUTH: no token: ")
            assert words in failed.text
            assert SECRET not in failed.text


async def test_a_token_is_not_used_in_its_last_minute() -> None:
    """One that lasts for less than a minute is good for half its time, so not for ever."""
    google = Google()
    google.good = {f"token-{number}" for number in range(10)}
    async with TokenEndpoint().running() as endpoint, served(google) as url:
        endpoint.lasts = 0
        settings = settings_of(url, endpoint)
        sender = Sender(settings, settings.smtp_servers[0])
        for _ in range(2):
            assert await sender.probe() is None
        endpoint.lasts = 3600
        for _ in range(3):
            assert await sender.probe() is None
        assert len(endpoint.forms) == 3


async def test_a_client_shows_its_certificate(authority: Authority, tmp_path: Path) -> None:
    """A server that wants one lets in who has it, and nobody else."""
    context = authority.certify("mail.example.test")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.file)
    file = authority.certify_client("reach.example.org")
    async with MailServer(tls="implicit", certificate=context) as server:
        usual = {"smtp_ca_file": authority.file, "smtp_verify_name": "mail.example.test"}
        settings = settings_for(server.url, smtp_cert_file=file, **usual)
        assert await Sender(settings, settings.smtp_servers[0]).probe() is None
        for changes in (usual, {**usual, "smtp_cert_file": file, "smtp_verify_name": ""}):
            other = settings_for(server.url, **changes)
            assert await Sender(other, other.smtp_servers[0]).probe() is not None
        url = f"{server.url}?name=mail.example.test"
        async with sender_to(url, smtp_ca_file=authority.file, smtp_cert_file=file) as sender:
            assert type(await send(sender)) is Sent
        bad = tmp_path / "bad.pem"
        bad.write_text("no certificate", encoding="utf-8")
        with pytest.raises(BadSettings, match="REACH_SMTP_CERT_FILE"):
            Opener(settings_for(server.url, smtp_cert_file=bad), settings.smtp_servers[0])
