"""The net under the tests: faults that they have to find (`python -m tests.mutants`).

Each fault is planted alone, in a copy of this checkout, and the tests named for it are run there.
A fault that no test finds fails the script; so does one whose text is not found exactly once, and
one whose tests fail without it. After code has moved, ``file`` and ``old`` are what is to be
changed here. ``--only NAME`` runs one (again for more), ``--list`` says what there is.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = "src/reach"
#: One process for the tests and one beside it, that outlives a test that hangs and says which.
PYTEST = ("-m", "pytest", "-q", "-n1", "--timeout=60", "--tb=no", "-pno:cacheprovider")
#: How long the tests of one fault may take, and those of all without any.
SECONDS, ALL_SECONDS = 300, 1800
#: A test in pytest's summary, and why it failed; what could not even be imported has no ``::``.
FAILED = re.compile(
    r"^(?:(?:SUB)?FAILED\S*|ERROR) (tests/[^\s:]+::[\w:]+(?:\[.*?\](?= - |$))?)(?: - (.*))?$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Fault:
    """A fault: ``old`` becomes ``new`` in ``file``; ``tests`` (a node id, or a file) find it."""

    name: str
    breaks: str
    file: str
    old: str
    new: str
    tests: str


FAULTS: Sequence[Fault] = (
    Fault(
        "promise-apart",
        "A person is on disk before the email to them is promised: a crash between loses it",
        "messages/outbox.py",
        '    _promise.rows(tx, {"rows": encode(tx.dialect.name, given)})\n',
        '    tx.exec_driver_sql("COMMIT")\n    tx.exec_driver_sql("BEGIN IMMEDIATE")\n    _promise.rows(tx, {"rows": encode(tx.dialect.name, given)})\n',
        "tests/promises/test_request_path.py::test_a_sign_up_is_one_commit_and_no_mail_on_sqlite",
    ),
    Fault(
        "no-wake-up",
        "A promise wakes no worker: its email waits for the poll",
        "messages/outbox.py",
        '    _promise.rows(tx, {"rows": encode(tx.dialect.name, given)})\n    notify(tx, CHANNEL)\n',
        '    _promise.rows(tx, {"rows": encode(tx.dialect.name, given)})\n',
        "tests/promises/test_wake_up.py",
    ),
    Fault(
        "no-fence",
        "A worker whose lease is over records its outcome over its successor's",
        "messages/queue.py",
        "        messages.c.lease == given.c.lease,\n",
        "",
        "tests/messages/test_outbox.py::test_a_late_word_changes_nothing",
    ),
    Fault(
        "no-renewal",
        "A lease is not renewed while the mail server takes its time: another worker sends too",
        "delivery/leases.py",
        "            if self.in_hand:\n",
        "            if not self.in_hand:\n",
        "tests/promises/test_two_workers.py::test_a_server_slower_than_many_leases_gets_the_message_once",
    ),
    Fault(
        "no-end-of-grace",
        "A worker that is told to stop waits for a silent mail server without end",
        "delivery/worker.py",
        "        deliveries.cancel_scope.deadline = deadline\n",
        "",
        "tests/promises/test_stopping.py::test_a_worker_stopped_while_the_server_is_silent_counts_the_attempt",
    ),
    Fault(
        "no-rest-when-empty",
        "A worker that finds nothing due asks again at once, and so all the time",
        "delivery/worker.py",
        "            if taken < room or room <= 0:\n",
        "            if room <= 0:\n",
        "tests/promises/test_wake_up.py",
    ),
    Fault(
        "one-fails-all",
        "One member's failure fails everybody who shares its commit",
        "db/group.py",
        "if len(members) == 1 or isinstance(error, DatabaseUnavailable):",
        "if isinstance(error, Exception):",
        "tests/db/test_group.py::test_one_members_failure_is_its_own",
    ),
    Fault(
        "unknown-repeated",
        "A COMMIT of which nobody knows what became is run again",
        "db/postgres.py",
        "(is_lost(error) or is_outdated(error)) and not self.is_committing",
        "is_lost(error) or is_outdated(error)",
        "tests/db/test_conflicts.py::test_an_unknown_commit_is_not_repeated[killed-group]",
    ),
    Fault(
        "longest-first",
        "A caller who is refused by a short window uses up places of the long one",
        "settings/types.py",
        "key=lambda item: (item.get_expiry(), item.amount))",
        "key=lambda item: -item.get_expiry())",
        "tests/limits/test_exact.py::test_who_is_refused_by_a_short_window_takes_nothing_of_a_long_one",
    ),
    Fault(
        "place-lost",
        "Who was given a place in Redis is refused if another's refusal is heard of first",
        "limits/limiter.py",
        "            return full\n        return windows.take(who, now)\n",
        "            return full\n        return windows.full(who, now) or windows.take(who, now)\n",
        "tests/limits/test_exact.py::test_who_was_given_a_place_has_it_though_a_refusal_is_heard_of_first",
    ),
    Fault(
        "no-fallback",
        "While Redis is unavailable, nobody is limited",
        "limits/limiter.py",
        "            shared.local_decisions += 1\n            return windows.full(who, now) or windows.take(who, now)\n",
        "            shared.local_decisions += 1\n            return ()\n",
        "tests/limits/test_outages.py::test_a_redis_that_refuses_is_unavailable[read only]",
    ),
    Fault(
        "each-ipv6-address",
        "Somebody with IPv6 is a new client with each of their 2^64 addresses",
        "limits/client.py",
        ">> 64 << 64",
        ">> 0 << 0",
        "tests/limits/test_client.py",
    ),
    Fault(
        "any-scope",
        "A link that was made to confirm an address may erase the person",
        "people/me.py",
        'if link.scope not in ("manage", self._scope):',
        'if link.scope not in ("manage", "confirm"):',
        "tests/auth/test_links.py::test_a_link_does_what_its_scope_says",
    ),
    Fault(
        "void-works",
        "A link that was voided still opens the record",
        "people/links.py",
        "if queries.links_version(tx, link.person_id) != link.version:",
        "if queries.links_version(tx, link.person_id) is None:",
        "tests/people/test_me.py::test_voided_links_are_void_at_once",
    ),
    Fault(
        "never-expires",
        "A link works for ever",
        "auth/links.py",
        "        if end <= time.time():\n            raise BadLink\n",
        "",
        "tests/auth/test_links.py::test_a_link_ends_by_its_date",
    ),
    Fault(
        "policy-rejects",
        "A 5.7.x, which is about us, fails the message that it answers",
        "smtp/replies.py",
        '        Meaning.SUSPECT,\n        "Policy, reputation,',
        '        Meaning.REJECTED,\n        "Policy, reputation,',
        "tests/smtp/test_replies.py",
    ),
    Fault(
        "dot-deferred",
        "No answer after the final dot is taken for a no: the server may have the message",
        "smtp/session.py",
        "unanswered=Unknown)",
        "unanswered=Deferred)",
        "tests/smtp/test_session.py",
    ),
    Fault(
        "421-deferred",
        "A server that closes (421) is tried with one message after the other",
        "smtp/replies.py",
        '"421|530|534|535|538"',
        '"530|534|535|538"',
        "tests/smtp/test_replies.py",
    ),
    Fault(
        "no-fingerprint",
        "An idempotency key gives its stored answer to another request",
        "idempotency/stored.py",
        "return stored.response if stored.fingerprint in self.fingerprints else KeyReused()",
        "return stored.response",
        "tests/idempotency/test_idempotency.py::test_another_body_is_refused",
    ),
    Fault(
        "claim-apart",
        "An idempotency key is on disk before what it is for: a failure keeps it for a day",
        "idempotency/stored.py",
        "    stored = claim(tx, [key]).get(key.names[0])\n",
        '    stored = claim(tx, [key]).get(key.names[0])\n    tx.exec_driver_sql("COMMIT")\n    tx.exec_driver_sql("BEGIN IMMEDIATE")\n',
        "tests/idempotency/test_idempotency.py::test_what_fails_is_not_stored[sqlite]",
    ),
    Fault(
        "everybodys-key",
        "Two operators with one idempotency key get each other's answers",
        "idempotency/keys.py",
        'f"operator:{key_id}"',
        '"operator"',
        "tests/idempotency/test_idempotency.py::test_a_key_is_its_callers_and_its_routes",
    ),
    Fault(
        "no-probe",
        "An open circuit breaker closes without having seen that the mail server lets it in",
        "delivery/circuit_breaker.py",
        "                if await probe() is None:\n",
        "                if probe:\n",
        "tests/telemetry/test_metrics_delivery.py::test_a_pause_is_seen_and_counted_once",
    ),
    Fault(
        "known-is-told",
        "The answer to a sign-up tells whether the address is known",
        "people/signup.py",
        "    promises = _again(tx, known, asked, settings)\n",
        "    if known:\n        return [AlreadySignedUp()] * len(submissions)\n    promises = _again(tx, known, asked, settings)\n",
        "tests/promises/test_identical.py",
    ),
    Fault(
        "endless-body",
        "A body that does not say how long it is may be of any length",
        "web/body.py",
        "                if len(body) > MOST_BYTES:\n                    raise TooLarge\n",
        "",
        "tests/web/test_guard.py::test_a_large_body_is_a_413",
    ),
    Fault(
        "blind-change",
        "A change of a record that somebody else has changed meanwhile overwrites it",
        "web/preconditions.py",
        "if self.versions is not None and record.version not in self.versions:",
        "if self.versions is not None and not record.version:",
        "tests/people/test_record.py::test_a_change_of_what_was_not_seen_is_refused",
    ),
    Fault(
        "last-field-counts",
        "Of two fields of one name, of which the first counts, the last one is taken",
        "web/body.py",
        'fields = dict(reversed(request.scope["headers"]))',
        'fields = dict(request.scope["headers"])',
        "tests/web/test_corpus.py",
    ),
    Fault(
        "key-remembered",
        "An operator's key that was looked up once opens everything after it was revoked",
        "web/guard.py",
        "    known = {text: keys.find(tx, text) for text in set(texts)}\n",
        "    known = globals().setdefault('known', {})\n    known |= {text: keys.find(tx, text) for text in set(texts) if not known.get(text)}\n",
        "tests/web/test_direct.py::test_a_revoked_key_opens_nothing_at_once_in_every_process",
    ),
)


class Bad(Exception):
    """A fault is none, or nothing finds it; ``args[0]`` says which."""


def main() -> int:
    """Plant, run, tell; 1 if anything is wrong with any fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", action="append", metavar="NAME", default=[])
    parser.add_argument("--list", action="store_true")
    given = parser.parse_args()
    if unknown := set(given.only) - {fault.name for fault in FAULTS}:
        parser.error(f"there is no such fault: {', '.join(sorted(unknown))}")
    faults = [fault for fault in FAULTS if not given.only or fault.name in given.only]
    if given.list:
        for fault in faults:
            say(f"{fault.name:20} {fault.file:22} {fault.breaks}")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by way of each ``finally``
    with copied() as copy:
        try:
            unfit = copy.failing(faults)
        except Bad as why:
            say(f"without any fault, {why}")
            return 1
        bad = sum(not is_found(fault, copy, unfit) for fault in faults)
    say(f"{len(faults) - bad} of {len(faults)} faults were found")
    return 1 if bad else 0


def is_found(fault: Fault, copy: "Copy", unfit: Mapping[str, str]) -> bool:
    """Plant a fault and say which test found it, or what is wrong."""
    began = time.monotonic()
    try:
        test, reason = finder(fault, copy, unfit)
    except Bad as why:
        say(f"{fault.name:20} WRONG: {why}")
        return False
    say(f"{fault.name:20} {test}  ({time.monotonic() - began:.0f} s)\n{'':20}   {reason[:100]}")
    return True


def finder(fault: Fault, copy: "Copy", unfit: Mapping[str, str]) -> tuple[str, str]:
    """Plant a fault; the test that found it, and how it failed. Raises Bad."""
    for test, reason in unfit.items():
        if test == fault.tests or test.startswith((f"{fault.tests}::", f"{fault.tests}[")):
            raise Bad(f"{test} fails without it: {reason}")
    file = ROOT / fault.tests.partition("::")[0]
    # A process of pytest-xdist that is to stop at the first failure never ends if a subtest fails.
    stops = () if "subtests" in file.read_text(encoding="utf-8") else ("-x",)
    with copy.planted(fault):
        failed = copy.run((*stops, fault.tests))
    if not failed:
        raise Bad("no test finds it")
    return next(iter(failed.items()))


class Copy:
    """A copy of the checkout, run by this interpreter and what is installed for it."""

    def __init__(self, root: Path) -> None:
        """Take where it is."""
        self._root = root
        # Before the checkout's own path: that is how `import reach` finds the copy.
        path = os.pathsep.join((str(root / "src"), str(root)))
        # Wide, for pytest cuts why a test failed to the width of the terminal.
        self._environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "250"}
        told = self._python("-c", "import reach; print(reach.__file__)")
        if root not in Path(told.strip()).parents:
            raise SystemExit(f"the tests would run another Reach: {told.strip()}")

    @contextmanager
    def planted(self, fault: Fault) -> Iterator[None]:
        """Have a fault until the end of the ``with``. Raises Bad."""
        file = self._root / SOURCE / fault.file
        if not file.is_file():
            raise Bad(f"there is no {fault.file}")
        sound = file.read_text()
        if (times := sound.count(fault.old)) != 1:
            raise Bad(f"its text is {times} times in {fault.file}")
        write(file, sound.replace(fault.old, fault.new))
        try:
            yield
        finally:
            write(file, sound)

    def failing(self, faults: Sequence[Fault]) -> Mapping[str, str]:
        """List the tests of these faults that fail without them."""
        return self.run(sorted({fault.tests for fault in faults}), ALL_SECONDS)

    def run(self, arguments: Sequence[str], seconds: float = SECONDS) -> Mapping[str, str]:
        """Run tests; why those failed that did. Raises Bad if they could not be run."""
        told = self._python(*PYTEST, *arguments, seconds=seconds)
        failed = dict(FAILED.findall(told))
        if not failed and not re.search(r"^\d+ passed", told, re.MULTILINE):
            raise Bad(f"its tests did not run:\n{told}")
        return failed

    def _python(self, *arguments: str, seconds: float = SECONDS) -> str:
        process = subprocess.Popen(
            (sys.executable, *arguments),
            cwd=self._root,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            told, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise Bad(f"its tests took more than {seconds:.0f} s") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return told


@contextmanager
def copied() -> Iterator[Copy]:
    """Copy what Git knows of this checkout, as it is now, and remove it at the end."""
    names = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    listed = subprocess.run(names, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    with tempfile.TemporaryDirectory(prefix="reach-mutants-") as folder:
        root = Path(folder).resolve()
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, root / name)
        yield Copy(root)


def write(file: Path, text: str) -> None:
    """Write a module, and forget what it was compiled to: a second may not tell them apart."""
    file.write_text(text)
    Path(cache_from_source(str(file))).unlink(missing_ok=True)


def say(line: str) -> None:
    """Print it at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
