"""A mailbox at an IMAP server (RFC 3501), read by the standard library's ``imaplib``. It blocks.

Mails are named by their UIDs, which stay the same while others are removed.
"""

import imaplib
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import SHUT_RDWR
from typing import Any, TypeVar

from reach.inbound.receiving import READ_BYTES
from reach.settings.inbound import ImapUrl

T = TypeVar("T")

#: How long the server may take for an answer.
ANSWER_SECONDS = 30.0
#: So many mails are searched at a time: ``imaplib`` takes no line of more than a megabyte.
WINDOW = 5000
#: So many are read before the database is asked.
PART = 20


class MailboxUnavailable(Exception):
    """The mailbox cannot be read; ``args[0]`` says why, in words of ours."""


class ImapMailbox:
    """One connection, with a folder selected."""

    def __init__(self, url: ImapUrl, ca_file: Path | None) -> None:
        """Connect and log in. Raises MailboxUnavailable."""
        with _told("it cannot be reached"):
            self._imap = _connect(url, ca_file)
        try:
            with _told("it does not let us in"):
                _log_in(self._imap, url.username or "", url.password or "")
            with _told("it has no such folder, or does not let us write to it"):
                self._count = int(_ok(self._imap.select(_quoted(url.folder)))[0] or 0)
                # Servers say more once one has logged in, and imaplib keeps what was said before.
                can = _ok(self._imap.capability())
        except MailboxUnavailable:
            self.close()
            raise
        self._can_expunge = b"UIDPLUS" in can[0].upper().split()

    def close(self) -> None:
        """Log out. It does not fail."""
        with suppress(Exception):
            self._imap.logout()
        with suppress(OSError):
            self._imap.shutdown()  # which a server that hung up first has left to us

    def abort(self) -> None:
        """Hang up, from another thread: what waits for an answer fails."""
        with suppress(OSError):
            self._imap.socket().shutdown(SHUT_RDWR)

    def parts(self) -> Iterator[Sequence[str]]:
        """Give the UIDs of unseen mails, some at a time, the newest first.

        What is removed meanwhile moves none of those that are searched later. Raises
        MailboxUnavailable.
        """
        for last in range(self._count, 0, -WINDOW):
            first = max(last - WINDOW + 1, 1)
            with _told("it cannot be searched"):
                found = self._uid("SEARCH", f"{first}:{last}", "UNSEEN", "UNDELETED")
                uids = str(found[0] or b"", "ascii").split()
            for at in range(0, len(uids), PART):
                yield uids[at : at + PART]

    def read(self, uid: str) -> bytes | None:
        """Read the beginning of a mail, which stays unseen; None if it has gone.

        Raises MailboxUnavailable.
        """
        with _told("a mail cannot be read"):
            found = self._uid("FETCH", uid, f"(BODY.PEEK[]<0.{READ_BYTES}>)")
        return next((bytes(one[1]) for one in found if isinstance(one, tuple)), None)

    def remove(self, uids: Sequence[str]) -> None:
        """Remove mails for good. Raises MailboxUnavailable.

        A server without UIDPLUS (RFC 4315) would remove what others have marked, too: there they
        are only marked as deleted.
        """
        self._mark(uids, r"(\Deleted \Seen)")
        if uids and self._can_expunge:
            with _told("a mail cannot be removed"):
                self._uid("EXPUNGE", ",".join(uids))

    def mark_seen(self, uids: Sequence[str]) -> None:
        """Leave mails to people. Raises MailboxUnavailable."""
        self._mark(uids, r"(\Seen)")

    def _mark(self, uids: Sequence[str], flags: str) -> None:
        if uids:
            with _told("a mail cannot be marked"):
                self._uid("STORE", ",".join(uids), "+FLAGS.SILENT", flags)

    def _uid(self, command: str, *arguments: str) -> Sequence[Any]:
        return _ok(self._imap.uid(command, *arguments))


def _connect(url: ImapUrl, ca_file: Path | None) -> imaplib.IMAP4:
    if url.security == "plain":
        return imaplib.IMAP4(url.host, url.port, timeout=ANSWER_SECONDS)
    context = ssl.create_default_context(cafile=ca_file)
    if url.security == "tls":
        return imaplib.IMAP4_SSL(url.host, url.port, ssl_context=context, timeout=ANSWER_SECONDS)
    imap = imaplib.IMAP4(url.host, url.port, timeout=ANSWER_SECONDS)
    try:
        imap.starttls(context)
    except BaseException:
        imap.shutdown()
        raise
    return imap


def _log_in(imap: imaplib.IMAP4, user: str, password: str) -> None:
    """Log in: by SASL where that can be, which takes every character."""
    if "AUTH=PLAIN" in imap.capabilities:
        imap.authenticate("PLAIN", lambda _: f"\0{user}\0{password}".encode())
    else:
        imap.login(_quoted(user), password)  # which it quotes itself


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", r"\\").replace('"', r"\"") + '"'


def _ok(answer: tuple[str, T]) -> T:
    if answer[0] != "OK":
        raise imaplib.IMAP4.error
    return answer[1]


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Say what does not work. The server's own words may hold anything, and are not repeated."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise MailboxUnavailable(f"{what}: {error.verify_message}") from None
    except OSError as error:
        raise MailboxUnavailable(f"{what}: {error.strerror or type(error).__name__}") from None
    except Exception as error:  # noqa: BLE001 - imaplib fails in many ways at odd answers
        raise MailboxUnavailable(f"{what} ({type(error).__name__})") from None
