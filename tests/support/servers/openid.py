"""Real OpenID providers on loopback, and somebody who signs in there as with a browser.

``AuthlibProvider`` is oidc-provider-mock, a wheel: Authlib's server with a form that believes every
name. ``CertifiedProvider`` is npm's oidc-provider, which the OpenID Foundation has certified: it
verifies PKCE and the client's secret, and has the claims in userinfo alone.
"""

import json
import re
import shutil
import sys
import tempfile
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urljoin

import httpx

from tests.support.http.clients import NO_CERTIFICATES
from tests.support.processes.ports import free_port
from tests.support.root import ROOT
from tests.support.servers.server import Program

CERTIFIED = Path(__file__).parent / "certified"
PROGRAM, INSTALL = CERTIFIED / "provider.mjs", CERTIFIED / "install.sh"
PACKAGES = ROOT / ".openid-provider" / "node_modules"
#: What both providers know.
CLIENT, SECRET = "reach", "secret + %41"
#: Where Reach is, unless a test has it run.
REDIRECT_URI = "http://127.0.0.1:8000/console/oidc/callback"
MOST_STEPS = 12


class NoProvider(Exception):
    """No such provider can be had here; ``args[0]`` says why."""


class OpenIdProvider(Program):
    """A provider at a port of its own. When it is started again, it has new keys."""

    def __init__(self) -> None:
        super().__init__()
        self.port = free_port()
        self.redirect_uri = REDIRECT_URI

    @classmethod
    @contextmanager
    def running(cls, redirect_uri: str = REDIRECT_URI) -> Iterator[Self]:
        """Run one as long as the ``with`` lasts. Raises NoProvider."""
        with cls.stopped() as provider:
            provider.redirect_uri = redirect_uri
            provider.start()
            yield provider

    @classmethod
    @contextmanager
    def stopped(cls) -> Iterator[Self]:
        """Have one that is to be started; Reach can be told where it will be."""
        provider = cls()
        try:
            yield provider
        finally:
            provider.close()

    @property
    def issuer(self) -> str:
        """What it calls itself."""
        return f"http://127.0.0.1:{self.port}"

    def is_ready(self) -> bool:
        """Whether it answers."""
        try:
            url = f"{self.issuer}/.well-known/openid-configuration"
            return httpx.get(url, verify=NO_CERTIFICATES, trust_env=False).is_success
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        """End it; ``start`` begins again at the same port."""
        super().close()
        self._output = tempfile.TemporaryFile()

    @abstractmethod
    def say(self, subject: str, **claims: Any) -> None:
        """Have it say this of somebody from now on."""

    @abstractmethod
    def sign_in(self, url: str, subject: str, *, declines: bool = False) -> str:
        """Sign in by its pages, as who was led to ``url``; returns where it leads back to."""


class AuthlibProvider(OpenIdProvider):
    """Authlib's: any client may come, with any secret."""

    def command(self) -> list[str]:
        """By the program of its package, with Python's warnings left to it."""
        program = str(Path(sys.executable).parent / "oidc-provider-mock")
        return [program, "--port", str(self.port)]

    def say(self, subject: str, **claims: Any) -> None:
        """By its own way for tests."""
        url = f"{self.issuer}/users/{quote(subject)}"
        with _browser() as browser:
            assert browser.put(url, json=claims).is_success

    def sign_in(self, url: str, subject: str, *, declines: bool = False) -> str:
        """Fill in its one form."""
        with _browser() as browser:
            assert 'name="sub"' in browser.get(url).text
            form = {"action": "deny"} if declines else {"sub": subject}
            return browser.post(url, data=form).headers["location"]


class CertifiedProvider(OpenIdProvider):
    """npm's: the clients that certified/provider.mjs names, and nobody who was not spoken of."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._accounts = Path(self._folder.name) / "accounts.json"
        self._accounts.write_text("{}", encoding="utf-8")
        # Node looks for packages beside the program.
        self._program = shutil.copy(PROGRAM, self._folder.name)
        (Path(self._folder.name) / PACKAGES.name).symlink_to(PACKAGES)

    def close(self) -> None:
        """End it, and forget who there was."""
        super().close()
        self._folder.cleanup()

    def command(self) -> list[str]:
        """By node."""
        arguments = [str(self.port), str(self._accounts), self.redirect_uri]
        return [find_node(), self._program, *arguments]

    def say(self, subject: str, **claims: Any) -> None:
        """In the file that it reads each time."""
        said = json.loads(self._accounts.read_text(encoding="utf-8")) | {subject: claims}
        self._accounts.write_text(json.dumps(said), encoding="utf-8")

    def sign_in(self, url: str, subject: str, *, declines: bool = False) -> str:
        """Sign in, agree to what Reach is to be told, and be led back."""
        with _browser() as browser:
            answer = browser.get(url)
            for _ in range(MOST_STEPS):
                if answer.is_redirect:
                    where = urljoin(str(answer.url), answer.headers["location"])
                    if where.startswith(self.redirect_uri):
                        return where
                    answer = browser.get(where)
                    continue
                assert answer.is_success, answer.text
                (action,) = re.findall(r'<form[^>]* action="([^"]+)"', answer.text)
                (abort,) = re.findall(r'href="([^"]+/abort)"', answer.text)
                (prompt,) = re.findall(r'name="prompt" value="(\w+)"', answer.text)
                if declines:
                    answer = browser.get(urljoin(self.issuer, abort))
                    continue
                form = {"prompt": prompt, "login": subject, "password": "any"}
                answer = browser.post(urljoin(self.issuer, action), data=form)
        raise AssertionError("it never leads back")


@cache
def find_node() -> str:
    """Find node, with the provider's packages. Raises NoProvider."""
    found = shutil.which("node")
    if found is None or not PACKAGES.is_dir():
        raise NoProvider(
            f"no certified OpenID provider: have node and npm, and run {INSTALL.relative_to(ROOT)}"
        )
    return found


def _browser() -> httpx.Client:
    return httpx.Client(verify=NO_CERTIFICATES, trust_env=False, timeout=10)
