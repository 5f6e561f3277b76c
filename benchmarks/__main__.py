"""`make bench`: the first figures, each beside its limit, in one run on one machine."""

import asyncio
import os
import secrets
import smtplib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiosmtplib
from pydantic import SecretStr
from sqlalchemy import func, select

from benchmarks import outages
from benchmarks.load import flood, pace
from benchmarks.refused import measure_refused
from reach.db.connect import open_database
from reach.db.migrate import migrate
from reach.db.transaction import Transaction
from reach.mail.compose import Composer, Mail
from reach.messages.model import messages
from reach.messages.queue import lease_due
from reach.people.address import parse_address
from reach.people.model import people
from reach.people.schemas import SignUp, Submission
from reach.people.signup import sign_up_all
from reach.settings import Settings
from tests.support.processes.commands import ReachProcess, api_process, worker_process
from tests.support.processes.ports import free_port
from tests.support.servers.postgres import Postgres

SIGN_UPS, CONNECTIONS = 4000, 64
MAILS, SLOTS = 4000, 8
PACED, PER_SECOND = 400, 100.0
WAIT_SECONDS = 40
STARTS = 5


def main() -> None:
    """Measure, and print one line a figure."""
    with tempfile.TemporaryDirectory() as folder, Postgres.private() as postgres:
        bare = asyncio.run(measure_bare())
        print(f"bare server (FastAPI, no database)     {bare:7.0f} requests/s")
        seconds = statistics.median(measure_start() for _ in range(STARTS))
        print(f"`reach up`, new folder, to first 202   {seconds:7.2f} s")
        for name, url in (
            ("SQLite FULL", f"sqlite:///{folder}/reach.sqlite3"),
            ("Postgres", postgres.url),
        ):
            settings = Settings(
                data_dir=Path(folder),
                database_url=SecretStr(url),
                secret_key=SecretStr(secrets.token_hex(32)),
                limit_signups="off",
            )
            migrate(settings.database)
            figure = asyncio.run(measure_sign_ups(settings))
            print(
                f"sign-ups, {name:12}                 {figure:7.0f} /s  {figure / bare:.2f} x bare"
            )
            one, several, sent = asyncio.run(measure_mails(settings))
            print(f"ready-made, smtplib, 1 connection      {one:7.0f} /s")
            print(f"ready-made, aiosmtplib, {SLOTS} connections  {several:7.0f} /s")
            shares = f"{sent / one:.2f} x smtplib, {sent / several:.2f} x aiosmtplib"
            print(f"emails, one worker, {name:12}       {sent:7.0f} /s  {shares}")
            p50, p99 = asyncio.run(measure_latency(settings))
            print(f"sign-up to acceptance, {name:12}    p50 {p50:.1f} ms, p99 {p99:.1f} ms")
            refused = asyncio.run(measure_refused(settings))
            shares = f"{refused / figure:.2f} x sign-ups"
            print(f"refused (429), {name:12}           {refused:7.0f} /s  {shares}")
    outages.report()


@contextmanager
def python_server(module: str, port: int, output: int | None = None) -> Iterator[None]:
    """Run a server of ours until the end of the ``with``."""
    command = [sys.executable, "-m", module, str(port)]
    process = subprocess.Popen(command, stdout=output or subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def measure_start() -> float:
    """Seconds from the command to the first sign-up's 202, in a folder that is not there yet."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder) / "new", port=free_port())
        began = time.monotonic()
        with ReachProcess("up", settings=settings):
            asyncio.run(first_sign_up(settings.port))
            return time.monotonic() - began


async def first_sign_up(port: int) -> None:
    """Sign up as soon as somebody listens."""
    await listening(port)
    await flood(port, count=1, connections=1, name="first")


async def listening(port: int) -> None:
    """Wait until somebody listens."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return
    raise AssertionError("no server came up")


async def measure_bare() -> float:
    """Requests a second of a server that stores nothing."""
    port = free_port()
    with python_server("benchmarks.bare", port):
        await listening(port)
        await flood(port, count=500, connections=CONNECTIONS, name="warm")
        return await flood(port, count=SIGN_UPS, connections=CONNECTIONS, name="bare")


async def measure_sign_ups(settings: Settings) -> float:
    """Sign-ups a second at one API process; every person and message is counted after."""
    port = free_port()
    with api_process(settings, port=port):
        await flood(port, count=500, connections=CONNECTIONS, name="warm")
        figure = await flood(port, count=SIGN_UPS, connections=CONNECTIONS, name="p")
    database = open_database(settings)
    assert await database.read(count, people) == SIGN_UPS + 500
    assert await database.read(count, messages) == SIGN_UPS + 500
    await database.write(lambda tx: tx.execute(people.delete()))
    await database.close()
    return figure


def count(tx: Transaction, table: object) -> int:
    """Count rows."""
    return int(tx.execute(select(func.count()).select_from(table)).scalar_one())  # type: ignore[arg-type]


def sign_up_many(tx: Transaction, settings: Settings, prefix: str) -> None:
    """Promise MAILS welcomes."""
    requests = [
        SignUp.model_construct(email=parse_address(f"{prefix}{n}@example.com"), name="Ada Lovelace")
        for n in range(MAILS)
    ]
    sign_up_all(tx, [Submission(one) for one in requests], settings)


async def measure_mails(settings: Settings) -> tuple[float, float, float]:
    """Mails a second: ready-made by smtplib, by aiosmtplib; then a worker's, composing included."""
    database = open_database(settings)
    await database.write(sign_up_many, settings, "m")
    (message,) = await database.write(lease_due, limit=1, lease_seconds=0.001)
    ready = Composer(settings).compose(message)
    port = free_port()
    with tempfile.TemporaryFile() as taken, python_server("benchmarks.sink", port, taken.fileno()):
        await listening(port)

        async def send(number: int) -> None:
            client = aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False)
            async with client:
                for _ in range(number):
                    await client.sendmail(ready.sender, [ready.recipient], ready.content)

        one_connection = await asyncio.to_thread(send_by_smtplib, port, ready)
        began = time.monotonic()
        await asyncio.gather(*(send(MAILS // SLOTS) for _ in range(SLOTS)))
        ready_made = MAILS / (time.monotonic() - began)
        with worker_process(settings, smtp_url=f"smtp://127.0.0.1:{port}", worker_slots=SLOTS):
            times = await taken_by(taken.fileno(), 3 * MAILS)
    worked = times[2 * MAILS :]
    assert len({email for _, email in worked}) == MAILS, "a mail is missing or came twice"
    left = select(func.count()).where(messages.c.state != "sent")
    assert await database.read(lambda tx: tx.execute(left).scalar_one()) == 0
    await database.write(lambda tx: tx.execute(people.delete()))
    await database.close()
    return one_connection, ready_made, (MAILS - 1) / (worked[-1][0] - worked[0][0])


def send_by_smtplib(port: int, ready: Mail) -> float:
    """Mails a second of the standard library, over one connection."""
    with smtplib.SMTP("127.0.0.1", port) as client:
        began = time.monotonic()
        for _ in range(MAILS):
            client.sendmail(ready.sender, [ready.recipient], ready.content)
        return MAILS / (time.monotonic() - began)


async def taken_by(descriptor: int, most: int) -> list[tuple[float, str]]:
    """Wait until the sink has taken so many; when, and for whom. One more is an error."""
    deadline = time.monotonic() + WAIT_SECONDS
    lines = lines_of(descriptor)
    while len(lines) < most and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
        lines = lines_of(descriptor)
    await asyncio.sleep(0.5)  # one too many would come now
    lines = lines_of(descriptor)
    assert len(lines) == most, f"{len(lines)} mails, not {most}"
    return [(float(at), email) for at, email in (line.split() for line in lines)]


def lines_of(descriptor: int) -> list[str]:
    """Read all that was written to a file, without moving the writer's place in it."""
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode().splitlines()


async def measure_latency(settings: Settings) -> tuple[float, float]:
    """Milliseconds from a sign-up's first byte to the mail server's acceptance."""
    port, api_port = free_port(), free_port()
    with tempfile.TemporaryFile() as taken, python_server("benchmarks.sink", port, taken.fileno()):
        await listening(port)
        smtp_url = f"smtp://127.0.0.1:{port}"
        with (
            api_process(settings, port=api_port),
            worker_process(settings, smtp_url=smtp_url),
        ):
            begun = await pace(api_port, count=50, per_second=PER_SECOND, name="warm")
            await taken_by(taken.fileno(), 50)
            begun = await pace(api_port, count=PACED, per_second=PER_SECOND, name="l")
            times = await taken_by(taken.fileno(), 50 + PACED)
    delays = [(at - begun[email]) * 1000 for at, email in times[50:]]
    cuts = statistics.quantiles(delays, n=100)
    return cuts[49], cuts[98]


if __name__ == "__main__":
    main()
