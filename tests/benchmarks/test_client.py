"""A client refuses to report what a server did not do well: wrk, and ours where there is none."""

import json
import shutil

import pytest

from benchmarks.client import Refused, Work, parse, send
from tests.support.http.answering import Start

#: Those that are here, by name. Ours always is.
CLIENTS = {"own": "", **({"wrk": found} if (found := shutil.which("wrk")) else {})}
each_client = pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
CONNECTIONS = 4
RESULT = "RESULT answered={} microseconds=2000000 p50=7000 p99=31500 refused={} lost={}\n"


def load(client: str, work: Work) -> int:
    """Load a server for a second; how many requests it answered."""
    found = send(work, seconds=1, connections=CONNECTIONS, prefix="a-", program=client)
    return found.answered


def test_a_result_is_read() -> None:
    """Answers, and times in the units that their names have."""
    output = "Running 2s test\n  4 threads\n" + RESULT.format(500, 0, 0)
    found = parse(output, "", unanswered=CONNECTIONS, busy=0.5)
    assert (found.answered, found.seconds, found.per_second) == (500, 2, 250)
    assert (found.p50_ms, found.p99_ms) == (7, 31.5)
    assert found.client_share == 0.25


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (RESULT.format(500, 1, 0) + "TOLD 503 {}\n", "1 answers of 500.*503"),
        (RESULT.format(500, 0, 2), "2 were lost"),
        (RESULT.format(0, 0, 0), "0 answers of 0"),
        ("unable to connect to 127.0.0.1:1", "unable to connect"),
        ("", "no result"),
    ],
)
def test_what_did_not_go_well_is_no_result(output: str, words: str) -> None:
    """One bad answer among thousands, one lost, none at all, nothing printed."""
    with pytest.raises(Refused, match=words):
        parse(output, "", unanswered=0, busy=0)


@each_client
def test_every_good_answer_is_counted(answering: Start, client: str) -> None:
    """And no more than were asked; each sign-up has an address of its own."""
    base, asked = answering(lambda _: 202)
    answered = load(client, Work("POST", base, "/v1/signups", 202))
    assert 0 < answered <= len(asked) <= answered + CONNECTIONS
    emails = {json.loads(body)["email"] for body in asked}
    assert len(emails) == len(asked)


@each_client
@pytest.mark.parametrize("bad", [500, 303, 200])
def test_one_bad_answer_in_a_hundred_fails_it(answering: Start, client: str, bad: int) -> None:
    """Whatever is not due: an error, a redirect, another success."""
    base, _ = answering(lambda number: bad if number % 100 == 99 else 202)
    with pytest.raises(Refused, match=f"{bad} .*so it is"):
        load(client, Work("POST", base, "/v1/signups", 202))


@each_client
def test_a_server_that_is_not_there_fails_it(client: str) -> None:
    """Nothing was measured."""
    with pytest.raises(Refused):
        load(client, Work("GET", "http://127.0.0.1:1", "/", 200))


@each_client
def test_records_are_read_one_after_the_other(answering: Start, client: str) -> None:
    """Not the one that was read just before."""
    base, asked = answering(lambda _: 200)
    load(client, Work("GET", base, "/people/", 200, "Bearer key", ids=["one", "two", "three"]))
    assert set(asked) == {"/people/one", "/people/two", "/people/three"}
    assert asked.count("/people/one") > 1


@each_client
def test_an_answer_may_come_in_chunks(answering: Start, client: str) -> None:
    """PocketBase's longer ones do: each is one answer, whatever it comes in."""
    base, asked = answering(lambda _: 200)
    answered = load(client, Work("GET", base, "/chunked", 200))
    assert 0 < answered <= len(asked) <= answered + CONNECTIONS
