"""Templates at the console: shown as they are, shut in; and a test that is sent as all mail is."""

from collections.abc import AsyncIterator, Callable
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from reach.auth.audit import Filter
from reach.messages.model import messages
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.console import Console, at_console
from tests.support.processes.reach import Reach, running_reach, running_worker
from tests.support.servers.mail import MailServer
from tests.support.trail import trail


@pytest.fixture
async def operator(reach: Reach) -> AsyncIterator[Console]:
    """Somebody who is signed in, on both databases."""
    async with at_console(reach) as console:
        yield console


async def test_each_template_in_each_language(console: Console) -> None:
    """By name; the first language and the welcome, for what there is not."""
    text = (await console.get("/console/templates?template=changed&language=de&part=text")).text
    assert "Das wurde in Ihren Daten bei Reach geändert" in text
    for query in ("", "?template=nothing&language=xx&part=yy"):
        page = await console.get(f"/console/templates{query}")
        assert page.status_code == 200
        assert "/console/templates/welcome/email?language=en" in page.text


async def test_html_is_shut_in(console: Console) -> None:
    """It runs nothing, loads nothing and is shown in no other site's page."""
    answer = await console.get("/console/templates/welcome/email?language=en")
    said = answer.headers["content-security-policy"]
    assert said.startswith("sandbox ")
    assert "allow-scripts" not in said
    assert "frame-ancestors 'self'" in said
    assert "this-link-is-a-sample" in answer.text
    assert (await console.get("/console/templates/nothing/email")).status_code == 404
    assert (await console.get("/console/templates/welcome/email?language=xx")).status_code == 404


async def test_a_test_is_sent_as_any_message_is(
    reach: Reach, operator: Console, mail_server: MailServer
) -> None:
    """By the outbox, in the language that was looked at; it is nobody's, and the trail tells."""
    form = {"address": "Ops@Example.com", "language": "de"}
    answer = await operator.post("/console/templates/welcome/test", form)
    assert answer.status_code == 303
    page = await operator.get(answer.headers["location"])
    assert "The test is in the outbox" in page.text
    async with running_worker(reach.settings):
        await eventually(lambda: mail_server.messages)
    (mail,) = mail_server.messages
    read = message_from_bytes(mail.content, policy=policy.default)
    assert read["To"] == "Ops@example.com"
    assert read["Content-Language"] == "de"
    assert "Sample Name" in str(read["Subject"])
    row = (await reach.database.read(lambda tx: tx.execute(select(messages)).all()))[0]
    assert (row.person_id, row.template) == (None, "welcome")
    (entry,) = await trail(reach.database, Filter(subject=row.id))
    assert (entry.action, entry.details) == (
        "template.send-test",
        {"template": "welcome", "language": "de"},
    )


@pytest.mark.parametrize("address", ["", "ada", "ada@", "a@b@example.com", "ada@no.invalid"])
async def test_a_test_needs_an_address(console: Console, here: Reach, address: str) -> None:
    """What is wrong is said above the field, and nothing is promised."""
    answer = await console.post("/console/templates/welcome/test", {"address": address})
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert await here.database.read(lambda tx: tx.execute(select(messages)).all()) == []
    answer = await console.post("/console/templates/no/test", {"address": "ada@example.com"})
    assert answer.status_code == 404


async def test_an_operators_own_template(
    sqlite: str, make_settings: Callable[..., Settings], tmp_path: Path, mail_server: MailServer
) -> None:
    """Data of which nothing is known is made up, in the preview and in a test; faults are shown."""
    folder = tmp_path / "templates"
    folder.mkdir()
    for suffix, text in {
        "subject": "Order {{ order.number }}",
        "txt": "Hello {{ name }}: {{ order.lines[0].label }}",
        "html": "<p>Hello {{ name }}: {{ order.total }}</p>",
    }.items():
        (folder / f"order.{suffix}").write_text(text, encoding="utf-8")
    settings = make_settings(
        database_url=sqlite, templates_dir=folder, smtp_url=SecretStr(mail_server.url)
    )
    async with running_reach(settings) as reach, at_console(reach) as console:
        page = (await console.get("/console/templates?template=order&part=text")).text
        assert "Hello Sample Name: sample" in page
        assert "Of order nothing is known" in page
        await console.post("/console/templates/order/test", {"address": "ops@example.com"})
        async with running_worker(reach.settings):
            await eventually(lambda: mail_server.messages)
        (folder / "order.txt").write_text("{{ nonsense(", encoding="utf-8")
        broken = await console.get("/console/templates?template=order&part=text")
        assert broken.status_code == 200
        assert "order.txt" in broken.text
    (mail,) = mail_server.messages
    assert b"Subject: Order sample" in mail.content
