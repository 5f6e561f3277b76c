"""The main job: somebody signs up, and the email arrives."""

from email.utils import parsedate_to_datetime
from uuid import UUID

from reach.auth.return_path import ReturnPaths
from tests.support.clock import eventually
from tests.support.processes.reach import Reach, messages_of, running_worker
from tests.support.servers.mail import MailServer


async def test_who_signs_up_gets_an_email(reach: Reach, mail_server: MailServer) -> None:
    """A sign-up through a real socket ends as an email at a real server, headers and all."""
    answer = await reach.sign_up("Ada.Lovelace@Example.com", "Ada Lovelace")
    assert (answer.status_code, answer.json()) == (202, {"message": "Check your inbox."})
    assert mail_server.sessions == 0
    async with running_worker(reach.settings):
        await eventually(lambda: mail_server.messages)
    (mail,) = mail_server.messages
    (message,) = await messages_of(reach)
    assert (mail.sender, mail.recipient) == ("reach@localhost", "Ada.Lovelace@example.com")
    assert [(name, str(value)) for name, value in mail.headers.items() if name != "Date"] == [
        ("Message-ID", message["message_id"]),
        ("From", "Reach <reach@localhost>"),
        ("To", "Ada.Lovelace@example.com"),
        ("Subject", "Welcome to Reach, Ada Lovelace"),
        ("Content-Language", "en"),
        ("Auto-Submitted", "auto-generated"),
        ("X-Reach-Message", ReturnPaths(reach.settings).token(UUID(str(message["id"])))),
        ("MIME-Version", "1.0"),
        ("Content-Type", mail.headers["Content-Type"]),
    ]
    promised_at = parsedate_to_datetime(str(mail.headers["Date"]))
    assert str(message["created_at"]).startswith(promised_at.strftime("%Y-%m-%dT%H:%M:%S"))
    assert mail.headers.get_content_type() == "multipart/alternative"
    assert "Ada Lovelace" in mail.text
    assert "Ada Lovelace" in mail.html
    assert (message["state"], message["attempts"], message["due_at"]) == ("sent", 1, None)
