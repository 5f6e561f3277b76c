"""Many at once: two workers, a hundred callers, a slow server, a stop in the middle."""

import anyio
import httpx
from sqlalchemy import select

from reach.db.engine import Transaction
from reach.messages import outbox
from reach.messages.model import messages
from reach.people.address import parse_address
from reach.people.signup import SignUp, sign_up_all
from reach.settings import Settings
from tests.eventually import eventually
from tests.promises.test_crashes import mailing, settled
from tests.servers.mail import MailServer
from tests.servers.ports import free_port
from tests.servers.processes import api_process, worker_process
from tests.servers.reach import ADA, Reach, messages_of, running_worker

MESSAGES = 2000


def sign_up_many(tx: Transaction, count: int, settings: Settings) -> None:
    """Sign up p0@example.com, p1@example.com and so on."""
    requests = [
        SignUp.model_construct(email=parse_address(f"p{n}@example.com"), name="Ada")
        for n in range(count)
    ]
    sign_up_all(tx, requests, settings)


async def test_two_workers_send_each_message_once(reach: Reach, mail_server: MailServer) -> None:
    """Two processes, 2,000 messages, and a busy door: no copy, no lock error, no 5xx."""
    settings = mailing(reach.settings, mail_server, lease_seconds=20, port=free_port())
    await reach.database.write(sign_up_many, MESSAGES, settings)
    statuses: list[int] = []
    with (
        worker_process(settings) as one,
        worker_process(settings) as other,
        api_process(settings) as api,
    ):
        async with httpx.AsyncClient(trust_env=False, timeout=20) as http:

            async def sign_up(name: str) -> None:
                for number in range(10):
                    body = {**ADA, "email": f"{name}-{number}@example.com"}
                    answer = await http.post(f"{settings.origin}/v1/signups", json=body)
                    statuses.append(answer.status_code)

            async with anyio.create_task_group() as group:
                for number in range(10):
                    group.start_soon(sign_up, f"door{number}")
            await eventually(lambda: len(mail_server.messages) >= MESSAGES + 100, 60)
        assert (one.stop(), other.stop(), api.stop()) == (0, 0, 0)
        logs = [process.output + process.errors for process in (one, other, api)]
    assert statuses == [202] * 100
    assert len(set(mail_server.recipients)) == len(mail_server.recipients) == MESSAGES + 100
    assert "locked" not in "".join(logs)
    assert "cannot" not in "".join(logs)


async def test_a_hundred_sign_ups_of_one_address_are_one_person(
    reach: Reach, mail_server: MailServer
) -> None:
    """One person, one welcome, nothing else, and a hundred answers that are all alike."""
    answers: list[httpx.Response] = []

    async def sign_up(number: int) -> None:
        spelling = "ADA@example.com" if number % 2 else "ada@EXAMPLE.com"
        answers.append(await reach.sign_up(spelling))

    async with anyio.create_task_group() as group:
        for number in range(100):
            group.start_soon(sign_up, number)
    assert [answer.status_code for answer in answers] == [202] * 100
    hidden = ("date", "x-request-id")
    alike = {
        (a.content, tuple((k, v) for k, v in a.headers.items() if k not in hidden)) for a in answers
    }
    assert len(alike) == 1
    everyone = await reach.http.get("/v1/people", headers=await reach.key())
    assert len(everyone.json()["items"]) == 1
    async with running_worker(reach.settings):
        (message,) = await settled(reach)
    assert message["template"] == "welcome"
    assert len(mail_server.messages) == 1


async def test_a_server_slower_than_many_leases_gets_the_message_once(
    reach: Reach, mail_server: MailServer
) -> None:
    """The lease is renewed while the server ponders the final dot; nobody else takes it."""
    settings = mailing(reach.settings, mail_server, lease_seconds=0.6, smtp_final_seconds=30)
    await reach.sign_up()
    gate = mail_server.gate("accepted")
    due: set[object] = set()

    async def renewed_often() -> bool:
        due.update(m["due_at"] for m in await messages_of(reach))
        return len(due) > 9

    with worker_process(settings), worker_process(settings):
        await gate.wait_reached()
        await eventually(renewed_often, 30)
        gate.open()
        (message,) = await settled(reach)
    assert len(mail_server.messages) == gate.count == 1
    assert message["attempts"] == 1


async def test_sigterm_finishes_what_is_in_hand(reach: Reach, mail_server: MailServer) -> None:
    """Exit 0 within the grace time; what was begun is sent once, the rest is there for the next."""
    settings = mailing(reach.settings, mail_server, lease_seconds=20)
    await reach.database.write(sign_up_many, 60, settings)
    gate = mail_server.gate("dot")
    with worker_process(settings) as worker:
        await gate.wait_reached(8)
        worker.running.terminate()
        # What it had not begun is due again, before what it is sending has been answered.
        await eventually(lambda: reach.database.read(count_held), 10)
        gate.open()
        # In a thread: the mail server answers from this event loop.
        assert await anyio.to_thread.run_sync(worker.wait) == 0
    assert len(mail_server.messages) == 8
    with worker_process(settings):
        await settled(reach)
    assert len(set(mail_server.recipients)) == len(mail_server.recipients) == 60


def count_held(tx: Transaction) -> bool:
    """Whether exactly the eight in hand are still held."""
    held = messages.c.lease > messages.c.settled_lease
    return len(tx.execute(select(messages.c.id).where(held)).all()) == 8


async def test_a_server_silent_past_the_grace_time_makes_the_attempt_unsure(
    reach: Reach, mail_server: MailServer
) -> None:
    """Nobody knows whether it was taken: it is counted, and sent again with the same id."""
    settings = mailing(reach.settings, mail_server, grace_seconds=0.5, lease_seconds=20)
    await reach.sign_up()
    gate = mail_server.gate("accepted")
    with worker_process(settings) as worker:
        await gate.wait_reached()
        assert worker.stop(10) == 0
    (message,) = await messages_of(reach)
    answer = await reach.http.get(f"/v1/messages/{message['id']}", headers=await reach.key())
    assert [a["outcome"] for a in answer.json()["history"]] == ["unsure"]
    gate.open()
    with worker_process(settings):
        await settled(reach)
    assert len({m.message_id for m in mail_server.messages}) == 1


async def test_a_message_that_kills_its_workers_cannot_loop(
    reach: Reach, mail_server: MailServer
) -> None:
    """Five workers in a row vanish with it: that is one failure, and it waits."""
    await reach.sign_up()

    async def vanish() -> bool:
        taken = await reach.database.write(outbox.lease_due, limit=1, lease_seconds=0.001)
        return bool(taken)

    for _ in range(5):
        await eventually(vanish)
    async with running_worker(reach.settings.model_copy(update={"retry_first_seconds": 60})):
        await eventually(lambda: attempted(reach))
    (message,) = await messages_of(reach)
    assert (message["state"], message["attempts"]) == ("queued", 1)
    assert "vanished" in str(message["last_error"])
    assert mail_server.sessions == 0


async def attempted(reach: Reach) -> bool:
    """Whether the one message there is has been tried."""
    (message,) = await messages_of(reach)
    return message["attempts"] == 1
