"""Searching, deleting and marking: by page, without scripts, and as JSON; by nobody else."""

import re
from html import unescape
from pathlib import Path

import httpx
import pytest

from reach.mailbox.server import Mailbox
from tests.support.processes.reach import change_services
from tests.support.site import Site

HERE = {"Origin": "http://127.0.0.1:8000"}
ADA = (
    b"From: Reach <reach@example.com>\r\nTo: Ada <ada@example.com>\r\n"
    b"Subject: =?utf-8?q?Willkommen_bei_Gr=C3=BC=C3=9Fen?=\r\n\r\nPlease confirm: token-of-Ada\r\n"
)
BOB = (
    b"From: other@sender.example\r\nTo: bob@example.net\r\nSubject: Your link\r\n"
    b'Content-Type: text/html\r\n\r\n<p class="secret">See <b>what</b> is stored</p>\r\n'
)
#: Each request that changes something: method, and path.
CHANGES = [
    ("POST", "/mailbox/clear"),
    ("POST", "/mailbox/messages/ID/delete"),
    ("DELETE", "/mailbox/messages"),
    ("DELETE", "/mailbox/messages/ID"),
]


def put(site: Site, *mails: bytes) -> list[str]:
    """Put mails in the mailbox; gives their ids, the newest first."""
    for mail in mails:
        site.mailbox.put(mail)
    return [entry.id for entry in site.mailbox.list()]


def unread(site: Site) -> list[bool]:
    """Say of each mail whether it is unread, the newest first."""
    return [entry.is_unread for entry in site.mailbox.list()]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", "bob ada"),
        ("willkommen", "ada"),
        ("GRÜSSEN", "ada"),
        ("ada@example.com", "ada"),
        ("sender.example", "bob"),
        ("bob@", "bob"),
        ("token-of-ada", "ada"),
        ("stored", "bob"),
        ("your stored link", "bob"),
        ("example", "bob ada"),
        ("your willkommen", ""),
        ("secret", ""),
        ("<b>", ""),
    ],
)
async def test_mail_is_found_by_its_words(site: Site, query: str, found: str) -> None:
    """By all of them, in any case: in its subject, its addresses and its text, not in markup."""
    put(site, ADA, BOB)
    async with site.client() as client:
        page = (await client.get("/mailbox", params={"q": query})).text
        lines = (await client.get("/mailbox/messages", params={"q": query})).json()
    wanted = found.split()
    assert [re.split("[<@]", line["to"].lower())[0].strip() for line in lines] == wanted
    assert page.count('class="entry') == len(wanted)
    assert ("No email has these words." in page) == (not wanted)


async def test_a_search_is_kept_by_what_it_found(site: Site) -> None:
    """Through a mail, its parts, and its deletion; and nothing of it is markup."""
    put(site, ADA, BOB)
    query = 'ada "><i>'
    async with site.client() as client:
        assert "<i>" not in (await client.get("/mailbox", params={"q": query})).text
        page = (await client.get("/mailbox?q=ada&width=390")).text
        (link,) = re.findall(r'href="(/mailbox\?message=[^"]+)"', page)
        mail = (await client.get(unescape(link))).text
        (delete,) = re.findall(r'action="([^"]+/delete[^"]*)"', mail)
        answer = await client.post(unescape(delete), data={}, headers=_form())
    assert "q=ada" in link
    assert "width=390" in link
    assert answer.status_code == 303
    assert answer.headers["location"] == "/mailbox?q=ada&width=390"
    assert [entry.subject for entry in site.mailbox.list()] == ["Your link"]


async def test_to_open_a_mail_marks_it_read(site: Site, tmp_path: Path) -> None:
    """As Maildir does, so a restart knows; to load it unseen, or as JSON, does not."""
    newest, oldest = put(site, ADA, BOB)
    async with site.client() as client:
        await client.head(f"/mailbox?message={newest}")
        for header in ("Sec-Purpose", "Purpose"):  # the latter is that of older browsers
            await client.get(f"/mailbox?message={newest}", headers={header: "prefetch"})
        for part in ("", "/raw", "/html"):
            await client.get(f"/mailbox/messages/{newest}{part}")
        assert unread(site) == [True, True]
        await client.get(f"/mailbox?message={oldest}")
        assert unread(site) == [True, False]
        page = (await client.get(f"/mailbox?message={oldest}")).text
        lines = (await client.get("/mailbox/messages")).json()
    assert "2 emails, 1 unread" in page
    assert [line["unread"] for line in lines] == [True, False]
    folder = tmp_path / "mailbox"
    assert [path.name for path in (folder / "cur").iterdir()] == [f"{oldest}:2,S"]
    assert [path.name for path in (folder / "new").iterdir()] == [newest]
    again = Mailbox(folder, keep=1)
    assert [(one.id, one.is_unread) for one in again.list()] == [(newest, True)]
    assert not list((folder / "cur").iterdir())


@pytest.mark.parametrize("width", ["320", "390", "", "1; color: red", "9999"])
async def test_html_is_shown_as_wide_as_a_telephone(site: Site, width: str) -> None:
    """By a link alone; another width than those there are is none."""
    (mail_id,) = put(site, BOB)
    async with site.client() as client:
        page = (await client.get("/mailbox", params={"message": mail_id, "width": width})).text
    (frame,) = re.findall("<iframe[^>]*>", page)
    known = width in ("320", "390")
    assert (f'class="w{width}"' in frame) == known
    assert "class" in frame or not known
    assert page.count('aria-current="true"') == 2


async def test_all_is_deleted_after_a_question(site: Site, tmp_path: Path) -> None:
    """What came in while the question was open stays: nobody has seen it."""
    put(site, ADA, BOB)
    async with site.client() as client:
        page = (await client.get("/mailbox/clear")).text
        assert len(site.mailbox.list()) == 2
        put(site, b"Subject: meanwhile\r\n\r\n")
        (last,) = re.findall(r'name="last" value="([^"]+)"', page)
        answer = await client.post("/mailbox/clear", data={"last": last}, headers=HERE)
        assert (answer.status_code, answer.headers["location"]) == (303, "/mailbox")
        assert [entry.subject for entry in site.mailbox.list()] == ["meanwhile"]
        for bad in ("", "../x", "1"):
            answer = await client.post("/mailbox/clear", data={"last": bad}, headers=HERE)
            assert answer.status_code == 404
        assert (await client.delete("/mailbox/messages")).status_code == 204
        assert (await client.get("/mailbox/clear")).status_code == 303
    assert not site.mailbox.list()
    assert not [path for path in (tmp_path / "mailbox").rglob("*") if path.is_file()]


async def test_one_is_deleted_by_a_program(site: Site, tmp_path: Path) -> None:
    """Once; the others stay, and its file is gone."""
    newest, oldest = put(site, ADA, BOB)
    async with site.client() as client:
        assert (await client.delete(f"/mailbox/messages/{newest}")).status_code == 204
        assert (await client.delete(f"/mailbox/messages/{newest}")).status_code == 404
        assert (await client.get(f"/mailbox/messages/{newest}")).status_code == 404
    assert [entry.id for entry in site.mailbox.list()] == [oldest]
    assert [entry.id for entry in Mailbox(tmp_path / "mailbox").list()] == [oldest]


@pytest.mark.parametrize(("method", "path"), CHANGES)
@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://127.0.0.1:8001",
        "http://localhost:8000",
        "https://127.0.0.1:8000",
    ],
)
async def test_another_sites_form_deletes_nothing(
    site: Site, method: str, path: str, origin: str
) -> None:
    """Nor another port's, which is another site; whatever it sends."""
    newest, _ = put(site, ADA, BOB)
    async with site.client() as client:
        answer = await _change(client, method, path.replace("ID", newest), newest, origin)
        assert answer.status_code == 403
        assert answer.json()["type"].endswith("/problems/from-elsewhere")
        if method == "POST":
            answer = await _change(client, method, path.replace("ID", newest), newest, None)
            assert answer.status_code == 403
        assert len(site.mailbox.list()) == 2
        ours = await _change(client, method, path.replace("ID", newest), newest, HERE["Origin"])
    assert ours.status_code in (204, 303)
    assert len(site.mailbox.list()) < 2


@pytest.mark.parametrize(("method", "path"), CHANGES)
async def test_strangers_delete_nothing(site: Site, method: str, path: str) -> None:
    """For them there is no mailbox, not even for a form that would be refused."""
    newest, _ = put(site, ADA, BOB)
    path = path.replace("ID", newest)
    for peer, host in (("192.0.2.7", "127.0.0.1:8000"), ("127.0.0.1", "evil.example")):
        async with site.client(peer=peer, host=host) as client:
            answer = await _change(client, method, path, newest, f"http://{host}")
            assert answer.status_code == 404
    had = change_services(site.app, mailbox=None)
    async with site.client() as client:
        answer = await _change(client, method, path, newest, HERE["Origin"])
        assert answer.status_code == 404
    assert had.mailbox is site.mailbox
    assert len(site.mailbox.list()) == 2


async def _change(
    client: httpx.AsyncClient, method: str, path: str, last: str, origin: str | None
) -> httpx.Response:
    """Send what changes something, as a form if it is one."""
    headers = {} if origin is None else {"Origin": origin}
    data = {"last": last} if method == "POST" else None
    return await client.request(method, path, data=data, headers=headers)


def _form() -> dict[str, str]:
    """The headers of an empty form: httpx sends none by itself."""
    return {**HERE, "Content-Type": "application/x-www-form-urlencoded"}
