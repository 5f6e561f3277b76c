"""The mailbox: what the embedded mail server took, for those at this machine only."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from reach.mailbox.server import Mailbox, Reading, readable
from reach.network.hosts import is_loopback
from reach.problems import NotFound
from reach.web.html import HEADERS, render
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

#: Its script looks for new mail.
RUNS = {"connect-src": "'self'"}

PARTS = ("html", "text", "source")


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


Local = Annotated[Mailbox, Depends(local_mailbox)]
router = APIRouter(prefix="/mailbox", include_in_schema=False)

# These are not `async`: a mailbox reads files.


@router.api_route("", methods=READ)
def get_page(request: Request, mailbox: Local, message: str = "", part: str = "") -> Response:
    """Show the list, and the mail that was chosen. Raises NoSuchMail."""
    entries = mailbox.list()
    values: dict[str, Any] = {"chosen": None}
    if message:
        reading = mailbox.read(message)
        shown = _part(part, reading)
        values = {
            "chosen": message,
            "reading": reading,
            "sender": _first(reading, "from"),
            "recipient": _first(reading, "to"),
            "subject": _first(reading, "subject"),
            "parts": PARTS,
            "part": shown,
            "source": readable(mailbox.raw(message)) if shown == "source" else "",
        }
    return render(request, "mailbox.html", runs=RUNS, entries=entries, **values)


@router.api_route("/messages", methods=READ)
def get_messages(mailbox: Local) -> Response:
    """List every mail, newest first."""
    lines = [
        {
            "id": entry.id,
            "to": entry.to,
            "subject": entry.subject,
            "received_at": entry.received_at.isoformat().replace("+00:00", "Z"),
        }
        for entry in mailbox.list()
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
def get_html(mail_id: str, mailbox: Local) -> Response:
    """Show one mail's HTML, shut in. Raises NoSuchMail, also if it has no HTML."""
    html = mailbox.read(mail_id).html
    if html is None:
        raise NotFound("This email has no HTML part.")
    headers = {**HEADERS, "Content-Security-Policy": MAIL_POLICY}
    content = (OPEN_LINKS_OUTSIDE + html).encode("utf-8", "replace")
    return Response(content, headers=headers, media_type="text/html")


def _part(asked: str, reading: Reading) -> str:
    """Choose what to show: what was asked for, else the first that this mail has."""
    there = (part for part in PARTS if part == "source" or getattr(reading, part) is not None)
    return next((part for part in PARTS if part == asked), next(there))


def _first(reading: Reading, name: str) -> str:
    return next((value for header, value in reading.headers if header.lower() == name), "")
