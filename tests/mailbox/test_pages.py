"""The mailbox's pages and JSON: for those at this machine, and safe to open."""

import re
from pathlib import Path

import pytest
from starlette.types import Message

from tests.support.processes.reach import change_services
from tests.support.site import Site

MAIL = (
    b"From: Reach <reach@example.com>\r\nTo: ada@example.com\r\n"
    b"Subject: Welcome, <script>Ada</script>\r\nReceived: a\r\nReceived: b\r\n"
    b"Content-Type: multipart/alternative; boundary=x\r\n\r\n"
    b"--x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nHello <i>Ada</i>\r\n"
    b"--x\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
    b"<p onclick='x()'>Hello</p><script>alert(1)</script>\r\n--x--\r\n"
)
PATHS = [
    "/mailbox",
    "/mailbox?message=ID&part=source",
    "/mailbox/messages",
    "/mailbox/messages/ID",
    "/mailbox/messages/ID/raw",
    "/mailbox/messages/ID/html",
    "/mailbox/clear",
]

#: What proxies, and the networks before them, add.
PROXIED = ["Forwarded", "Via", "X-Real-IP", "True-Client-IP", "CF-Ray", "CF-Connecting-IP"]
PROXIED += [f"X-Forwarded-{name}" for name in ("For", "Host", "Proto", "Port", "Server", "Prefix")]


def put(site: Site, content: bytes = MAIL) -> str:
    """Put a mail in the mailbox; gives its id."""
    site.mailbox.put(content)
    return site.mailbox.list()[0].id


async def test_mail_as_json(site: Site) -> None:
    """A program finds the newest mail, its headers in order, its parts and its source."""
    put(site, b"To: bob@example.com\r\nSubject: older\r\n\r\n")
    mail_id = put(site)
    async with site.client() as client:
        newest, older = (await client.get("/mailbox/messages")).json()
        message = (await client.get(f"/mailbox/messages/{mail_id}")).json()
        raw = await client.get(f"/mailbox/messages/{mail_id}/raw")
    assert list(newest) == ["id", "from", "to", "subject", "received_at", "unread"]
    assert (newest["from"], newest["unread"]) == ("Reach <reach@example.com>", True)
    assert (newest["id"], newest["to"]) == (mail_id, "ada@example.com")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", newest["received_at"])
    assert (older["to"], older["subject"]) == ("bob@example.com", "older")
    assert message["headers"][1] == ["To", "ada@example.com"]
    assert [value for name, value in message["headers"] if name == "Received"] == ["a", "b"]
    assert message["text"] == "Hello <i>Ada</i>"
    assert message["html"].startswith("<p onclick")
    assert raw.content == MAIL
    assert raw.headers["content-type"].startswith("text/plain")
    assert raw.headers["x-content-type-options"] == "nosniff"


async def test_the_page_works_by_links_alone(site: Site) -> None:
    """The list leads to a mail, and a mail to its parts; nothing of the mail is markup there."""
    put(site)
    async with site.client() as client:
        page = (await client.get("/mailbox")).text
        assert "Welcome, &lt;script&gt;Ada" in page
        (link,) = re.findall(r'href="(/mailbox\?message=[^"]+)"', page)
        html = (await client.get(link)).text
        parts = dict.fromkeys(re.findall(r'href="([^"]+part=\w+)"', html))
        _, text, source = [(await client.get(p.replace("&amp;", "&"))).text for p in parts]
    assert re.search(r"<title>Welcome, &lt;script&gt;", html)
    assert re.search(r'<iframe [^>]*sandbox="[^"]*" src="/mailbox/messages/[^"]+/html"', html)
    assert "Hello &lt;i&gt;Ada&lt;/i&gt;" in text
    assert "Received: a" in source
    for shown in (page, html, text, source):
        # Ours alone, which only looks for new mail.
        (script,) = re.findall(r"<script[^>]*>", shown)
        assert re.search(r'nonce="[\w-]{20,}" src="/static/mailbox-\w+\.js"', script)
        assert "<i>" not in shown


async def test_new_mail_is_a_link_away_without_scripts(site: Site) -> None:
    """No page reloads by itself: it would take readers out of the text (WCAG 2.2.1)."""
    async with site.client() as client:
        empty = await client.get("/mailbox")
        mail_id = put(site)
        full, reading = (
            await client.get("/mailbox"),
            await client.get(f"/mailbox?message={mail_id}"),
        )
    for answer in (empty, full, reading):
        assert "http-equiv" not in answer.text
        assert "refresh" not in answer.headers
        assert '<a href="/mailbox"' in answer.text
        policy = answer.headers["content-security-policy"]
        assert re.search(r"script-src 'nonce-[\w-]+'; connect-src 'self'(;|$)", policy)


@pytest.mark.parametrize("part", ["html", "text", "source", "", "other"])
async def test_a_part_that_is_missing_is_said_to_be(site: Site, part: str) -> None:
    """A mail without HTML, or without anything, still has its page."""
    for content in (b"", b"Subject: x\r\n\r\ntext", b"Content-Type: text/html\r\n\r\n<p>x"):
        mail_id = put(site, content)
        async with site.client() as client:
            answer = await client.get(f"/mailbox?message={mail_id}&part={part}")
        assert answer.status_code == 200


async def test_html_is_shut_in(site: Site) -> None:
    """A mail's HTML can run nothing, load nothing and send nothing, also when opened by itself."""
    mail_id = put(site)
    async with site.client() as client:
        answer = await client.get(f"/mailbox/messages/{mail_id}/html")
        policy = answer.headers["content-security-policy"]
        assert re.match(r"sandbox [a-z -]*;", policy)
        assert "allow-scripts" not in policy
        assert "allow-same-origin" not in policy
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'self'" in policy
        plain = put(site, b"Subject: x\r\n\r\ntext")
        assert (await client.get(f"/mailbox/messages/{plain}/html")).status_code == 404


@pytest.mark.parametrize("path", [*PATHS, "/mailbox/events"])
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil.example@localhost",
        "localhost@evil.example",
        "192.168.0.5:8000",
        "[::2]:8000",
        "0.0.0.0:8000",
        "",
    ],
)
async def test_a_name_that_is_not_this_machine_gets_nothing(
    site: Site, path: str, host: str
) -> None:
    """A web page elsewhere cannot read the mail by pointing its own name at 127.0.0.1."""
    path = path.replace("ID", put(site))
    async with site.client(host=host) as client:
        answer = await client.get(path)
    assert answer.status_code == 404
    assert answer.json().keys() == {"type", "title", "status"}
    assert answer.json()["type"].endswith("/problems/not-found")


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000", "LOCALHOST."]
)
@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "127.8.9.1"])
async def test_this_machine_may_read_under_all_its_names(site: Site, host: str, peer: str) -> None:
    """Somebody at this machine need not know which address the server chose."""
    mail_id = put(site)
    async with site.client(peer=peer, host=host) as client:
        for path in PATHS:
            assert (await client.get(path.replace("ID", mail_id))).status_code == 200
            assert (await client.head(path.replace("ID", mail_id))).status_code == 200


@pytest.mark.parametrize("path", [*PATHS, "/mailbox/events"])
async def test_strangers_get_nothing(site: Site, path: str) -> None:
    """Not from another machine, nor through a proxy on this one, nor without a mailbox."""
    path = path.replace("ID", put(site))
    async with site.client(peer="192.0.2.7") as client:
        assert (await client.get(path)).status_code == 404
    async with site.client() as client:
        for header in PROXIED:
            assert (await client.get(path, headers={header: "x"})).status_code == 404, header
    async with site.client() as client:
        doubled = [("Host", "localhost"), ("Host", "evil.example")]
        assert (await client.get(path, headers=doubled)).status_code == 404
        assert path == "/mailbox/events" or (await client.get(path)).status_code == 200
        change_services(site.app, mailbox=None)
        assert (await client.get(path)).status_code == 404


@pytest.mark.parametrize(("version", "status"), [("1.0", 404), ("1.1", 200)])
async def test_what_speaks_http_1_0_is_a_proxy(site: Site, version: str, status: int) -> None:
    """Nginx does, to what it stands before, and adds no header of its own."""
    scope = {
        "type": "http",
        "http_version": version,
        "method": "GET",
        "path": "/mailbox",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
    }
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        sent.append(message)

    await site.app(scope, receive, send)
    assert sent[0]["status"] == status


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e%2fsecret", "secret", "%00"]
)
async def test_no_address_leads_out_of_the_mailbox(site: Site, name: str, tmp_path: Path) -> None:
    """Only mails can be read, whatever is asked for and however it is written."""
    (tmp_path / "mailbox" / "secret").write_text("secret")
    async with site.client() as client:
        for path in ("/mailbox/messages/{}", "/mailbox/messages/{}/raw", "/mailbox?message={}"):
            answer = await client.get(path.format(name))
            assert answer.status_code == 404
            assert "secret" not in answer.text
