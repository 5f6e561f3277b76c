"""A broken template in the operator's folder, from the folder to the inbox."""

from pathlib import Path

import httpx
import pytest

from tests.support.clock import eventually
from tests.support.people import add, operator, owed
from tests.support.processes.reach import Reach, running_worker
from tests.support.servers.mail import MailServer

#: A file, what is wrong in it, and what an operator is told.
BROKEN = {
    "syntax": (
        "welcome.txt",
        "Hello {{ name }}\n\n{% if name %}\n",
        "welcome.txt, line 3: Unexpected end of template",
    ),
    "unknown": (
        "welcome.html",
        "<p>Hi\n{{ nmae }}</p>",
        "welcome.html, line 2: 'nmae' is undefined",
    ),
    "subject": ("welcome.subject", "{{ name.x.y }}", "welcome.subject, line 1: "),
}


async def in_state(http: httpx.AsyncClient, template: str, state: str) -> dict[str, object]:
    """Wait until the message of a template is in a state, and return it."""

    async def find() -> list[dict[str, object]]:
        return await owed(http, template=template, state=state)

    (found,) = await eventually(find)
    return found


@pytest.mark.parametrize("case", BROKEN)
async def test_a_broken_template_fails_alone_until_it_is_mended(
    reach: Reach, mail_server: MailServer, tmp_path: Path, case: str
) -> None:
    """It says in which line; others go on; mended, a retry delivers, with no restart."""
    file, content, complaint = BROKEN[case]
    folder = tmp_path / "templates"
    folder.mkdir()
    (folder / file).write_text(content)
    http = await operator(reach)
    settings = reach.settings.model_copy(update={"templates_dir": folder})
    async with running_worker(settings):
        person = (await add(http)).json()
        failed = await in_state(http, "welcome", "failed")
        assert str(failed["last_error"]).startswith(f"cannot be composed: {complaint}")
        assert failed["attempts"] == 1

        await http.patch(f"/v1/people/{person['id']}", json={"name": "Eve"})
        await in_state(http, "changed", "sent")
        assert mail_server.recipients == ["ada@example.com"]
        assert (await owed(http, template="welcome"))[0]["state"] == "failed"

        (folder / file).write_text("Mended, {{ name }}!\n")
        retried = await http.post(f"/v1/messages/{failed['id']}/retry")
        assert (retried.status_code, retried.json()["state"]) == (200, "queued")
        sent = await in_state(http, "welcome", "sent")
    assert (sent["id"], sent["last_error"], sent["attempts"]) == (failed["id"], None, 2)
    mail = mail_server.messages[-1]
    assert mail.message_id == failed["message_id"]
    parts = {"subject": str(mail.headers["Subject"]), "txt": mail.text, "html": mail.html}
    assert parts[file.partition(".")[2]].strip() == "Mended, Ada!"


async def test_a_broken_template_pauses_nobody(
    reach: Reach, mail_server: MailServer, tmp_path: Path
) -> None:
    """However many mails of one template cannot be composed, the others are sent."""
    folder = tmp_path / "templates"
    folder.mkdir()
    (folder / "welcome.txt").write_text("{{ nmae }}")
    http = await operator(reach)
    for number in range(25):
        (await add(http, email=f"p{number}@example.com")).raise_for_status()
    person = (await add(http, welcome=False)).json()
    settings = reach.settings.model_copy(update={"templates_dir": folder})
    async with running_worker(settings):

        async def failed() -> bool:
            return len(await owed(http, state="failed")) == 25

        await eventually(failed)
        await http.patch(f"/v1/people/{person['id']}", json={"name": "Eve"})
        await in_state(http, "changed", "sent")
    assert mail_server.recipients == ["ada@example.com"]
