"""What a provider says of itself, and how it answers: what cannot be used is said to be so."""

import json
import re
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from reach.auth.oidc import fetching
from reach.auth.oidc.metadata import Metadata
from reach.auth.oidc.model import NotProven, ProviderUnavailable
from reach.auth.oidc.provider import Provider
from reach.settings import BadSettings
from tests.support.openid import answer_in, client_of
from tests.support.servers.mail import Authority

WELL_KNOWN = "/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True)
class Document:
    """What there is at a path: by itself, a document of JSON."""

    content: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, value: Any) -> "Document":
        """Write a value as JSON."""
        return cls(json.dumps(value).encode())


class Documents(ThreadingHTTPServer):
    """The server; ``asked`` has the path of each request, and what its client called itself."""

    daemon_threads = True

    def __init__(self, certificate: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.found: dict[str, Document] = {}
        self.asked: list[str] = []
        self.drips = False
        self.is_over = Event()
        self._scheme = "http"
        if certificate is not None:
            self._scheme = "https"
            self.socket = certificate.wrap_socket(self.socket, server_side=True)

    @property
    def origin(self) -> str:
        """Where it is."""
        return f"{self._scheme}://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that does not trust it, or has read enough."""

    @classmethod
    @contextmanager
    def running(cls, certificate: ssl.SSLContext | None = None) -> Iterator["Documents"]:
        """Run it as long as the ``with`` lasts."""
        server = cls(certificate)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.is_over.set()
            server.shutdown()
            server.server_close()
            thread.join()

    @classmethod
    @contextmanager
    def dripping(cls) -> Iterator[str]:
        """Run a server that sends a byte of a header now and then, and gets to no end of it."""
        with cls.running() as server:
            server.drips = True
            yield server.origin


class _Handler(BaseHTTPRequestHandler):
    server: Documents

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.server.drips:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
            while not self.server.is_over.wait(0.02):
                self.wfile.write(b"x")
            return
        found = self.server.found.get(self.path, Document(b"", 404))
        self.send_response(found.status)
        for name, value in found.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(found.content)))
        self.end_headers()
        self.wfile.write(found.content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Documents]:
    """Run a server that is none yet."""
    with Documents.running() as running:
        yield running


def describe(server: Documents, **changes: Any) -> dict[str, Any]:
    """Have a server call itself a provider; returns what it says."""
    said = {
        "issuer": server.origin,
        "authorization_endpoint": f"{server.origin}/authorize",
        "token_endpoint": f"{server.origin}/token",
        "jwks_uri": f"{server.origin}/jwks",
        **changes,
    }
    server.found[WELL_KNOWN] = Document.of({k: v for k, v in said.items() if v is not None})
    return said


async def test_little_need_be_said(server: Documents) -> None:
    """The endpoints alone are enough; an address may have a query of its own."""
    describe(server, authorization_endpoint=f"{server.origin}/authorize?tenant=ops")
    begun = await Provider(client_of(server.origin)).begin()
    assert begun.url.startswith(f"{server.origin}/authorize?tenant=ops&response_type=code&")
    asked = answer_in(begun.url)
    assert asked["code_challenge_method"] == "S256"
    assert re.fullmatch(r"[\w-]{43}", asked["code_challenge"])
    assert len({asked[name] for name in ("state", "nonce", "code_challenge")}) == 3
    assert asked["nonce"] not in begun.kept


async def test_it_is_asked_once_an_hour(server: Documents) -> None:
    """Not before each sign-in."""
    describe(server)
    now = time.time()
    reach = Provider(client_of(server.origin), lambda: now)
    for _ in range(3):
        await reach.begin()
    assert server.asked == [WELL_KNOWN]
    now += 3601
    await reach.begin()
    assert server.asked == [WELL_KNOWN] * 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"issuer": "https://login.example.org"}, "calls itself otherwise"),
        ({"issuer": None}, "calls itself otherwise"),
        ({"token_endpoint": None}, "token_endpoint is not the address"),
        ({"token_endpoint": 7}, "token_endpoint is not the address"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "authorization_endpoint is not the"),
        ({"jwks_uri": "http://keys.example.org/"}, "jwks_uri is not encrypted"),
        ({"userinfo_endpoint": "http://me.example.org/"}, "userinfo_endpoint is not encrypted"),
        ({"response_types_supported": ["id_token"]}, "does not offer code"),
        ({"code_challenge_methods_supported": ["plain"]}, "does not offer S256"),
        ({"token_endpoint_auth_methods_supported": ["private_key_jwt"]}, "takes no client secret"),
    ],
)
async def test_what_cannot_serve_us_is_said(
    server: Documents, changes: dict[str, Any], words: str
) -> None:
    """In words for the log and for `reach check`."""
    describe(server, **changes)
    with pytest.raises(ProviderUnavailable, match=f"^discovery: .*{words}"):
        await Provider(client_of(server.origin)).begin()


async def test_a_provider_that_names_itself_in_answers_does_so_in_each(server: Documents) -> None:
    """Where it says that it does (RFC 9207), one without its name may be another's."""
    describe(server, authorization_response_iss_parameter_supported=True)
    reach = Provider(client_of(server.origin))
    begun = await reach.begin()
    answer = {"state": answer_in(begun.url)["state"], "code": "x"}
    with pytest.raises(NotProven, match="does not say whose"):
        await reach.finish(begun.kept, answer)


def test_a_provider_elsewhere_sends_nobody_to_this_machine_in_clear() -> None:
    """Without encryption an endpoint is for a provider that is on this machine itself."""
    issuer = "https://login.example.org"
    names = ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint")
    said = {"issuer": issuer, **{name: f"{issuer}/{name}" for name in names}}
    assert Metadata.read(said, issuer, has_secret=True)
    for name in names:
        here = {**said, name: "http://127.0.0.1:8080/"}
        with pytest.raises(ProviderUnavailable, match=f"{name} is not encrypted"):
            Metadata.read(here, issuer, has_secret=True)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (Document(b"", 404), "HTTP 404"),
        (Document(b"", 302, {"Location": "https://example.org/"}), "HTTP 302"),
        (Document(b"<html>"), "no object of JSON"),
        (Document(b"[1]"), "no object of JSON"),
        (Document(b"[" * 100_000), "no object of JSON"),
        (Document(b"\xff\xfe"), "no object of JSON"),
        (Document(b'{"a":"' + b"x" * 600_000 + b'"}'), "too long"),
    ],
)
async def test_no_answer_makes_a_fault_of_ours(
    server: Documents, document: Document, words: str
) -> None:
    """Not there, led elsewhere, no JSON, or without end: none is followed, and none is read."""
    server.found[WELL_KNOWN] = document
    with pytest.raises(ProviderUnavailable, match=words):
        await Provider(client_of(server.origin)).begin()
    assert server.asked == [WELL_KNOWN]


async def test_a_provider_that_hangs_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor one that sends a byte now and then."""
    monkeypatch.setattr(fetching, "MOST_SECONDS", 0.2)
    with Documents.dripping() as origin, pytest.raises(ProviderUnavailable, match="no answer with"):
        await Provider(client_of(origin)).begin()


async def test_a_certificate_counts(tmp_path: Path) -> None:
    """The system's authorities, or those of the file; and the reason is told."""
    authority = Authority(tmp_path)
    with Documents.running(authority.certify()) as server:
        describe(server)
        await Provider(client_of(server.origin, oidc_ca_file=authority.file)).begin()
        with pytest.raises(ProviderUnavailable, match="its certificate is not trusted"):
            await Provider(client_of(server.origin)).begin()
    with Documents.running(authority.certify("login.example.org")) as server:
        describe(server)
        with pytest.raises(ProviderUnavailable, match="its certificate is not trusted"):
            await Provider(client_of(server.origin, oidc_ca_file=authority.file)).begin()


def test_a_file_of_authorities_is_read_at_the_start(tmp_path: Path) -> None:
    """Missing, or no certificates: a line that names the variable."""
    (tmp_path / "junk.pem").write_text("junk", encoding="utf-8")
    for name, words in (("missing.pem", "cannot be read"), ("junk.pem", "holds no certificates")):
        with pytest.raises(BadSettings, match=f"^REACH_OIDC_CA_FILE {words}"):
            Provider(client_of("https://login.example.org", oidc_ca_file=tmp_path / name))
