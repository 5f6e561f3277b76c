"""What a signature costs: `python -m benchmarks.signed`, about half a minute.

Processor time of one, as Reach makes it and as dkimpy alone would, beside that of composing the
mail. Then the emails a second of one worker process that signs and of one that does not, in turns.
"""

import asyncio
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import dkim
from pydantic import SecretStr
from sqlalchemy import func, select

from benchmarks.sink import sink
from reach.db.connect import open_database
from reach.db.migrate import migrate
from reach.db.transaction import Transaction
from reach.mail.compose import Composer
from reach.mail.dkim import SIGNED, DkimKey
from reach.messages.model import messages
from reach.messages.queue import lease_due
from reach.people.address import parse_address
from reach.people.model import people
from reach.people.schemas import SignUp, Submission
from reach.people.signup import sign_up_all
from reach.settings import Settings
from tests.support.messages import signing
from tests.support.processes.commands import worker_process

MAILS, TURNS, SIGNATURES = 1500, 5, 200


def main() -> None:
    """Measure, and print a line a figure."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            data_dir=Path(folder), secret_key=SecretStr(secrets.token_hex(32)), **signing()
        )
        migrate(settings.database)
        asyncio.run(measure_one(settings))
        plain = settings.model_copy(update={"dkim_selector": "", "dkim_private_key": SecretStr("")})
        figures: dict[str, list[float]] = {"signed": [], "unsigned": []}
        for _ in range(TURNS):
            for name, way in (("unsigned", plain), ("signed", settings)):
                figures[name].append(asyncio.run(measure_worker(way)))
        pairs = zip(figures["signed"], figures["unsigned"], strict=True)
        ratio = statistics.median(signed / unsigned for signed, unsigned in pairs)
        for name, some in figures.items():
            print(f"emails, one worker, {name:8}   {statistics.median(some):6.0f} /s")
        print(f"signed, of unsigned             {ratio:6.2f} x, median of {TURNS} turns")


async def measure_one(settings: Settings) -> None:
    """Say what the processor takes for one message."""
    database = open_database(settings)
    await database.write(sign_up_many, settings, 1)
    (message,) = await database.write(lease_due, limit=1, lease_seconds=0.001)
    await database.write(lambda tx: tx.execute(people.delete()))
    await database.close()
    key = DkimKey.of(settings)
    assert key is not None
    composer = Composer(settings)
    content = composer.compose(message).content
    pem = settings.dkim_private_key.get_secret_value().encode()
    headers = [name.encode() for row in SIGNED for name in row]

    def by_dkimpy_alone() -> None:
        form = (b"relaxed", b"relaxed")
        dkim.sign(content, b"x", b"example.org", pem, canonicalize=form, include_headers=headers)

    for name, fn in (
        ("composing", lambda: composer.compose(message)),
        ("signing, as Reach does", lambda: key.signed(content)),
        ("signing, dkimpy alone", by_dkimpy_alone),
    ):
        print(f"{name:28}   {milliseconds(fn):6.2f} ms of the processor")


def milliseconds(fn: Callable[[], object]) -> float:
    """Say what one call takes of the processor."""
    fn()
    began = time.process_time()
    for _ in range(SIGNATURES):
        fn()
    return (time.process_time() - began) / SIGNATURES * 1e3


async def measure_worker(settings: Settings) -> float:
    """Emails a second of a worker; one that is missing or comes twice is an error."""
    database = open_database(settings)
    await database.write(sign_up_many, settings, MAILS)
    with sink() as taken, worker_process(settings, smtp_url=taken.url):
        times = taken.next(MAILS)
    assert len({email for _, email in times}) == MAILS, "a mail is missing or came twice"
    left = select(func.count()).where(messages.c.state != "sent")
    assert await database.read(lambda tx: tx.execute(left).scalar_one()) == 0
    await database.write(lambda tx: tx.execute(people.delete()))
    await database.close()
    return (MAILS - 1) / (times[-1][0] - times[0][0])


def sign_up_many(tx: Transaction, settings: Settings, count: int) -> None:
    """Promise so many welcomes."""
    requests = [
        SignUp.model_construct(email=parse_address(f"p{n}@example.com"), name="Ada Lovelace")
        for n in range(count)
    ]
    sign_up_all(tx, [Submission(one) for one in requests], settings)


if __name__ == "__main__":
    main()
