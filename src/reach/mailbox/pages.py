"""The mailbox: what the embedded mail server took, for those at this machine only."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, RedirectResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from reach.mailbox.news import News
from reach.mailbox.reading import Reading, readable
from reach.mailbox.server import Mailbox
from reach.network.hosts import is_loopback
from reach.problems import Forbidden, NotFound
from reach.settings import Settings
from reach.web.body import read_form
from reach.web.html import HEADERS, is_loaded_ahead, language_of, render
from reach.web.middleware import STAYS_OPEN
from reach.web.routes import services_of

READ = ["GET", "HEAD"]
#: What proxies add for the stranger whom they speak for. Not every one does: one that passes
#: requests on as they came cannot be told from a browser, so none belongs before a mailbox.
PROXIED = ("forwarded", "via", "x-real-ip", "true-client-ip", "client-ip")
PROXIED_BEGINNINGS = ("x-forwarded-", "cf-")
HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:@/\[\]]+)(:[0-9]*)?")

#: A mail's HTML gets a page of its own, which may run nothing, load nothing and send nothing;
#: its links open in new pages, outside.
MAIL_POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; "
    "style-src 'unsafe-inline'; img-src data:; form-action 'none'; "
    "frame-ancestors 'self'; base-uri 'none'"
)
OPEN_LINKS_OUTSIDE = '<!doctype html><base target="_blank">'

#: Its script hears of new mail.
RUNS = {"connect-src": "'self'"}
#: Without a referrer, browsers do not say where a form is from.
REFERRER = {"Referrer-Policy": "same-origin"}

PARTS = ("html", "text", "source")
#: In pixels, of telephones, most and a small one; or as wide as there is room.
WIDTHS = ("", "390", "320")
MOST_QUERY_CHARACTERS = 200
#: After so long a browser asks again, if the connection is lost.
RETRY_MILLISECONDS = 2000
#: A rush of mail is told all at once: the list has a thousand lines.
GAP_SECONDS = 0.2


class FromElsewhere(Forbidden):
    """Only the mailbox's own page, and programs at this machine, may delete emails.

    Nothing was done. A program sends `DELETE /mailbox/messages/{id}`, without an `Origin`.
    """

    type, title = "from-elsewhere", "This form is not of the mailbox"


def may_read(request: Request) -> bool:
    """Whether there is a mailbox, and who asks is at this machine and knows it.

    The ``Host`` must be this machine's too: else a web page anywhere, whose name its owner
    lets point to 127.0.0.1 ("DNS rebinding"), could read the mail with its visitor's browser.
    """
    hosts = request.headers.getlist("host")
    match = HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    return (
        services_of(request).mailbox is not None
        and request.client is not None
        and is_loopback(request.client.host)
        and match is not None
        and is_loopback(match[1])
        and not is_proxied(request)
    )


def is_proxied(request: Request) -> bool:
    """Whether a proxy shows itself: by a header, or by HTTP/1.0, which no browser speaks."""
    return request.scope["http_version"] == "1.0" or any(
        name in PROXIED or name.startswith(PROXIED_BEGINNINGS) for name in request.headers
    )


def is_hidden(request: Request) -> bool:
    """Whether a request is for a mailbox that is not there for who asks."""
    return f"{request.scope['path']}/".startswith("/mailbox/") and not may_read(request)


async def local_mailbox(request: Request) -> Mailbox:
    """Find the mailbox. Raises NotFound for those who may not read it, as if it were not there."""
    mailbox = services_of(request).mailbox
    if not isinstance(mailbox, Mailbox) or not may_read(request):
        raise NotFound
    return mailbox


async def ours(request: Request, mailbox: Annotated[Mailbox, Depends(local_mailbox)]) -> Mailbox:
    """Find the mailbox for who may change it: our own page, or a program at this machine.

    Browsers say where a form is from, and ask before they send another page's DELETE. Raises
    NotFound; FromElsewhere.
    """
    origins = [origin.lower() for origin in request.headers.getlist("origin")]
    is_program = not origins and request.method == "DELETE"
    if not is_program and origins != [f"http://{request.headers['host'].lower()}"]:
        raise FromElsewhere
    return mailbox


Local = Annotated[Mailbox, Depends(local_mailbox)]
Ours = Annotated[Mailbox, Depends(ours)]
Form = Annotated[dict[str, str], Depends(read_form)]
router = APIRouter(prefix="/mailbox", include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Look:
    """How somebody looks at the mailbox: for which words, and at HTML of which width."""

    q: str = ""
    width: str = ""

    @classmethod
    async def of(cls, q: str = "", width: str = "") -> "Look":
        """Read it from a query; what is too long, or no width, is as if it were not there."""
        words = " ".join(q[:MOST_QUERY_CHARACTERS].split())
        return cls(words, width if width in WIDTHS else "")

    def url(self, at: str = "", **others: str) -> str:
        """Write the address of what looks so, and as else is said."""
        given = {"message": "", "part": "", "q": self.q, "width": self.width, **others}
        said = urlencode({name: value for name, value in given.items() if value})
        return f"/mailbox{at}?{said}" if said else f"/mailbox{at}"

    def list(self, mailbox: Mailbox, chosen: str = "") -> dict[str, Any]:
        """Find what the list is made of."""
        every = mailbox.list()
        return {
            "look": self,
            "chosen": chosen,
            "entries": mailbox.search(self.q) if self.q else every,
            "total": len(every),
            "unread": sum(entry.is_unread for entry in every),
        }


Looking = Annotated[Look, Depends(Look.of)]

# These are not `async`: a mailbox reads files.


@router.api_route("", methods=READ)
def get_page(
    request: Request, mailbox: Local, look: Looking, message: str = "", part: str = ""
) -> Response:
    """Show the list, and the mail that was chosen, which then is no longer unread.

    Raises NoSuchMail.
    """
    values: dict[str, Any] = {}
    if message:
        reading = mailbox.read(message)
        if request.method == "GET" and not is_loaded_ahead(request):
            mailbox.mark_read(message)
        shown = _part(part, reading)
        values = {
            "reading": reading,
            "parts": PARTS,
            "part": shown,
            "widths": WIDTHS,
            "source": readable(mailbox.raw(message)) if shown == "source" else "",
            "sender": _first(reading, "from"),
            "recipient": _first(reading, "to"),
            "subject": _first(reading, "subject"),
            "date": _first(reading, "date"),
        }
    values |= look.list(mailbox, message)
    return render(request, "mailbox.html", headers=REFERRER, runs=RUNS, **values)


@router.get("/events")
async def get_events(
    request: Request, mailbox: Local, look: Looking, message: str = ""
) -> Response:
    """Go on telling how the list looks, whenever that has changed. Raises TooManyListeners."""
    pages, language = services_of(request).pages, language_of(request)

    def show() -> str:
        return pages.render("mailbox-list.html", language, **look.list(mailbox, message))

    return Live(mailbox.news, show)


class Live(StreamingResponse):
    """A server-sent event with a text, at first and whenever it has changed: until it is closed."""

    def __init__(self, news: News, show: Callable[[], str]) -> None:
        """Have ``show`` called at first, and after each of the ``news``."""
        super().__init__((), headers=HEADERS, media_type="text/event-stream")
        self._news, self._show = news, show

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer for as long as the caller listens. Raises TooManyListeners."""
        with self._news.heard() as changed:
            scope[STAYS_OPEN] = True
            self.body_iterator = self._events(changed)
            await super().__call__(scope, receive, send)

    async def _events(self, changed: asyncio.Event) -> AsyncIterator[str]:
        yield f"retry: {RETRY_MILLISECONDS}\n\n"
        told = None
        while True:
            changed.clear()
            text = await run_in_threadpool(self._show)
            if text != told:
                yield "".join(f"data: {line}\n" for line in text.splitlines()) + "\n"
                told = text
                await asyncio.sleep(GAP_SECONDS)
            await changed.wait()


@router.post("/messages/{mail_id}/delete")
def post_delete(mail_id: str, mailbox: Ours, look: Looking, _: Form) -> Response:
    """Delete one mail, and go back to the list. Raises NoSuchMail."""
    mailbox.delete(mail_id)
    return _to_list(look.url())


@router.api_route("/clear", methods=READ)
def get_clear(request: Request, mailbox: Local) -> Response:
    """Ask whether to delete every mail that there is now."""
    entries = mailbox.list()
    if not entries:
        return _to_list("/mailbox")
    count, last = len(entries), entries[0].id
    return render(request, "mailbox-clear.html", headers=REFERRER, count=count, last=last)


@router.post("/clear")
def post_clear(mailbox: Ours, form: Form) -> Response:
    """Delete every mail that had come when the question was asked. Raises NoSuchMail."""
    mailbox.clear(form.get("last", ""))
    return _to_list("/mailbox")


@router.delete("/messages")
def delete_messages(mailbox: Ours) -> Response:
    """Delete every mail."""
    mailbox.clear()
    return Response(status_code=204)


@router.delete("/messages/{mail_id}")
def delete_message(mail_id: str, mailbox: Ours) -> Response:
    """Delete one mail. Raises NoSuchMail."""
    mailbox.delete(mail_id)
    return Response(status_code=204)


@router.api_route("/messages", methods=READ)
def get_messages(mailbox: Local, q: str = "") -> Response:
    """List every mail that has the words of ``q``, newest first."""
    lines = [
        {
            "id": entry.id,
            "from": entry.sender,
            "to": entry.to,
            "subject": entry.subject,
            "received_at": entry.received_at.isoformat().replace("+00:00", "Z"),
            "unread": entry.is_unread,
        }
        for entry in mailbox.search(q[:MOST_QUERY_CHARACTERS])
    ]
    return JSONResponse(lines, headers=HEADERS)


@router.api_route("/messages/{mail_id}", methods=READ)
def get_message(mail_id: str, mailbox: Local) -> Response:
    """Read one mail: ``headers`` are pairs, in order. Raises NoSuchMail."""
    reading = mailbox.read(mail_id)
    content = {"headers": reading.headers, "text": reading.text, "html": reading.html}
    return JSONResponse(content, headers=HEADERS)


@router.api_route("/messages/{mail_id}/raw", methods=READ)
def get_raw(mail_id: str, mailbox: Local) -> Response:
    """Read one mail as it came. Raises NoSuchMail."""
    headers = {**HEADERS, "Content-Security-Policy": "sandbox; default-src 'none'"}
    return Response(mailbox.raw(mail_id), headers=headers, media_type="text/plain")


@router.api_route("/messages/{mail_id}/html", methods=READ)
def get_html(request: Request, mail_id: str, mailbox: Local) -> Response:
    """Show one mail's HTML, shut in. Raises NoSuchMail, also if it has no HTML."""
    html = mailbox.read(mail_id).html
    if html is None:
        raise NotFound("This email has no HTML part.")
    headers = mail_headers(services_of(request).settings)
    content = (OPEN_LINKS_OUTSIDE + html).encode("utf-8", "replace")
    return Response(content, headers=headers, media_type="text/html")


def _to_list(url: str) -> Response:
    return RedirectResponse(url, status_code=303, headers=HEADERS)


def mail_headers(settings: Settings) -> dict[str, str]:
    """Make what shuts a mail's HTML in: it may load our own logo, and nothing else."""
    logo = settings.brand.logo
    policy = MAIL_POLICY
    if logo:
        policy = policy.replace("img-src", f"img-src {logo.origin or settings.origin}")
    return {**HEADERS, "Content-Security-Policy": policy}


def _part(asked: str, reading: Reading) -> str:
    """Choose what to show: what was asked for, else the first that this mail has."""
    there = (part for part in PARTS if part == "source" or getattr(reading, part) is not None)
    return next((part for part in PARTS if part == asked), next(there))


def _first(reading: Reading, name: str) -> str:
    return next((value for header, value in reading.headers if header.lower() == name), "")
