"""One connection of the scriptable mail server: the commands of RFC 5321, 3207, 4954 and 6531."""

import asyncio
import binascii
from base64 import b64decode, b64encode
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.servers.mail import MailServer

CHUNK = 1 << 16
FLUSH_SECONDS = 1
NOT_SMTP = b"\xff\x00 what?"
CONTENT_END = b"\r\n.\r\n"


class Behaviour(Enum):
    """What a server may do instead of answering."""

    DROP = "close the connection at once"
    SILENCE = "say nothing more, and keep the connection"
    GARBAGE = "answer with what is not SMTP"


#: A line or several (one string or a list, each with its code), or a behaviour; None: as usual.
Reply = str | list[str] | Behaviour | None


class Over(Exception):
    """This session ends here; ``flush`` says whether what was said still goes out."""

    def __init__(self, *, flush: bool) -> None:
        """Remember how to close."""
        self.flush = flush


class Session:
    """One client, from greeting to goodbye."""

    def __init__(
        self, server: "MailServer", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Take a connection that was just made."""
        self._server = server
        self._reader = reader
        self._writer = writer
        self._buffer = bytearray()
        #: Messages taken in this session.
        self.messages = 0
        self._encrypted = server.tls == "implicit"
        self._logged_in = False
        #: Waiting for a command, with no message under way.
        self.is_idle = False
        #: The message under way.
        self._sender: str | None = None
        self._recipient = ""
        self._parameters = ""

    async def run(self) -> None:
        """Serve until one side has had enough."""
        try:
            await self._answer("greeting", "", "220 127.0.0.1 ESMTP")
            while True:
                await self._command()
        except Over as over:
            if over.flush:
                await self._flush()
        except OSError:  # the client is gone, or TLS failed: nothing is left to say
            pass
        finally:
            self.hang_up()

    def hang_up(self) -> None:
        """Close at once, if that has not been done."""
        self._writer.transport.abort()

    async def _flush(self) -> None:
        self._writer.close()
        with suppress(OSError):  # a time-out is one too
            async with asyncio.timeout(FLUSH_SECONDS):
                await self._writer.wait_closed()

    def speak(self, words: str) -> None:
        """Say something unasked."""
        self._writer.write(words.encode() + b"\r\n")

    def leave(self) -> None:
        """Close, once what was said has gone out."""
        self._writer.close()

    async def _command(self) -> None:
        self.is_idle = self._sender is None
        async with asyncio.timeout(self._server.idle_seconds):
            line = await self._line()
        self.is_idle = False
        verb, _, argument = line.partition(" ")
        verb = verb.upper()
        self._server.lines.append(line)
        self._server.commands.append(verb)
        commands = {
            "EHLO": self._ehlo,
            "HELO": self._ehlo,
            "STARTTLS": self._starttls,
            "AUTH": self._auth,
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "RSET": self._rset,
            "NOOP": self._noop,
            "QUIT": self._quit,
        }
        if verb in commands:
            await commands[verb](argument)
        else:
            self._say("500 5.5.2 Unknown command")

    async def _ehlo(self, argument: str) -> None:
        offers = ["127.0.0.1", "ENHANCEDSTATUSCODES", "8BITMIME", "SIZE 10485760"]
        if self._server.tls == "starttls" and not self._encrypted:
            offers.append("STARTTLS")
        if self._server.login:
            offers.append("AUTH PLAIN LOGIN")
        if self._server.smtputf8:
            offers.append("SMTPUTF8")
        if self._server.pipelining:
            offers.append("PIPELINING")
        lines = [f"250-{offer}" for offer in offers]
        if await self._answer("ehlo", argument, [*lines, "250 HELP"]):
            self._reset()

    async def _starttls(self, argument: str) -> None:
        context = self._server.certificate
        if self._server.tls != "starttls" or context is None:
            self._say("502 5.5.1 Not offered")
        elif await self._answer("starttls", argument, "220 2.0.0 Go ahead"):
            await self._writer.start_tls(context)
            self._encrypted = True

    async def _auth(self, argument: str) -> None:
        if (said := await self._decide("auth", argument)) is not None:
            self._logged_in = self._say(said)
            return
        mechanism, _, initial = argument.partition(" ")
        try:
            if mechanism.upper() == "PLAIN":
                words = (initial or await self._challenge("")).encode()
                _, user, password = b64decode(words).decode().split("\0")
            else:
                user = b64decode(initial or await self._challenge("Username:")).decode()
                password = b64decode(await self._challenge("Password:")).decode()
        except (binascii.Error, ValueError):
            self._say("501 5.5.2 Cannot decode")
            return
        self._logged_in = (user, password) == self._server.login
        good, bad = "235 2.7.0 Welcome", "535 5.7.8 Wrong user or password"
        self._say(good if self._logged_in else bad)

    async def _challenge(self, prompt: str) -> str:
        self._say(f"334 {b64encode(prompt.encode()).decode()}")
        return await self._line()

    async def _mail(self, argument: str) -> None:
        path, _, parameters = argument.removeprefix("FROM:").partition(" ")
        most = self._server.max_messages_per_connection
        normal = "250 2.1.0 Ok"
        if self._server.requires_auth and not self._logged_in:
            normal = "530 5.7.0 Authentication required"
        elif self._sender is not None:
            normal = "503 5.5.1 Nested MAIL command"
        elif most is not None and self.messages >= most:
            normal = "421 4.7.0 Too many messages for one connection"
        elif "SMTPUTF8" in parameters and not self._server.smtputf8:
            normal = "555 5.5.4 Parameter not offered"
        if await self._answer("mail", argument, normal):
            self._sender, self._parameters = path.strip("<>"), parameters

    async def _rcpt(self, argument: str) -> None:
        normal = "250 2.1.5 Ok"
        if self._sender is None:
            normal = "503 5.5.1 MAIL first"
        elif not argument.isascii() and "SMTPUTF8" not in self._parameters:
            normal = "553 5.6.7 Address needs SMTPUTF8"
        if await self._answer("rcpt", argument, normal):
            self._recipient = argument.removeprefix("TO:").strip("<>")

    async def _data(self, argument: str) -> None:
        normal = "354 End with a dot" if self._recipient else "503 5.5.1 RCPT first"
        said = await self._decide("data", argument) or normal
        self._say(said)
        if not _starts(said, "354"):
            return
        content = await self._content()
        said = await self._decide("dot", "") or f"250 2.0.0 Ok: message {self.messages + 1}"
        if _starts(said, "2"):
            self.messages += 1
            self._server.take(self._sender or "", self._recipient, self._parameters, content)
            said = await self._decide("accepted", "") or said
        self._reset()
        self._say(said)

    async def _rset(self, argument: str) -> None:
        if await self._answer("rset", argument, "250 2.0.0 Ok"):
            self._reset()

    async def _noop(self, argument: str) -> None:
        await self._answer("noop", argument, "250 2.0.0 Ok")

    async def _quit(self, argument: str) -> None:
        await self._answer("quit", argument, "221 2.0.0 Bye")
        raise Over(flush=True)

    async def _content(self) -> bytes:
        """Read up to the dot; without the dot, and without what was stuffed."""
        if not self._buffer:
            await self._more()
        if (said := await self._decide("data-content", "")) is not None:
            self._say(said)
        # As if the line end after DATA belonged to the content, so an empty one ends like any.
        self._buffer[:0] = b"\r\n"
        seen = 0
        while (end := self._buffer.find(CONTENT_END, seen)) < 0:
            seen = max(0, len(self._buffer) - len(CONTENT_END))
            await self._more()
        content = bytes(self._buffer[: end + 2])
        del self._buffer[: end + len(CONTENT_END)]
        return content.replace(b"\r\n.", b"\r\n")[2:]

    def _reset(self) -> None:
        self._sender, self._recipient, self._parameters = None, "", ""

    async def _answer(self, stage: str, argument: str, normal: Reply) -> bool:
        """Say what the script wants, or ``normal``; True if that was a yes (2yz)."""
        return self._say(await self._decide(stage, argument) or normal)

    async def _decide(self, stage: str, argument: str) -> Reply:
        """Ask the script; end the session here if it wants that."""
        said = await self._server.decide(self, stage, argument)
        if said is Behaviour.DROP:
            raise Over(flush=False)
        while said is Behaviour.SILENCE:
            await self._more()
        return said

    def _say(self, reply: Reply) -> bool:
        """Write it; True if it is a yes. Raises Over after a 421."""
        if isinstance(reply, list):
            reply = "\r\n".join(reply)
        words = reply.encode("utf-8", "surrogateescape") if isinstance(reply, str) else NOT_SMTP
        self._writer.write(words + b"\r\n")
        if _starts(reply, "421"):
            raise Over(flush=True)
        return _starts(reply, "2")

    async def _line(self) -> str:
        while (end := self._buffer.find(b"\n")) < 0:
            await self._more()
        line = self._buffer[:end].rstrip(b"\r").decode("utf-8", "surrogateescape")
        del self._buffer[: end + 1]
        return line

    async def _more(self) -> None:
        """Read some. Raises Over at the end."""
        data = await self._reader.read(CHUNK)
        if not data:
            raise Over(flush=False)
        self._buffer += data


def _starts(reply: Reply, code: str) -> bool:
    first = reply[0] if isinstance(reply, list) else reply
    return isinstance(first, str) and first.startswith(code)
