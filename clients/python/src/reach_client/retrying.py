"""When a call is tried again, and how it ends. No network here: both clients ask, and do it."""

import random
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from time import monotonic

import httpx

from reach_client.problems import (
    NotReached,
    Problem,
    ReachError,
    UnexpectedAnswer,
    problem_of,
    retry_after,
)

#: What is worth another try. A 500 is not: it is a fault, and would come again.
WORTH_RETRYING = (429, 502, 503, 504)
#: Nothing was done: no request left this machine, or it was refused unread.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)

#: What this machine cannot send, and would not the next time.
_CANNOT_PASS = (httpx.LocalProtocolError, httpx.UnsupportedProtocol)


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a call is tried, and for how long.

    ``tries`` counts the first one; 1 is none but that. No wait begins that would end after
    ``total_seconds`` from the call's beginning: a quota that lasts longer is raised at once. Waits
    double from ``first_seconds`` to ``longest_seconds``, unless the server says ``Retry-After``.
    """

    tries: int = 5
    total_seconds: float = 60
    first_seconds: float = 0.5
    longest_seconds: float = 20

    def wait_seconds(self, failures: int, asked: float | None) -> float:
        """Choose a wait after so many failures; what the server ``asked`` is the least.

        Chance spreads those who were refused together: over half of the wait, or on top of what
        was asked.
        """
        if asked is not None:
            return asked + _chance(0, min(1, asked / 4))
        longest = min(self.first_seconds * 2.0 ** (failures - 1), self.longest_seconds)
        return longest * _chance(0.5, 1)


#: What a client does unless it is told otherwise.
USUALLY = Retries()


@dataclass
class Tries:
    """The tries of one call: told how each ended, it says whether to wait for another one."""

    retries: Retries
    is_delete: bool = False
    failures: int = 0
    #: An earlier try may have been carried out.
    perhaps_done: bool = False
    began: float = field(default_factory=monotonic)

    def wait_seconds(self, outcome: httpx.Response | httpx.RequestError) -> float | None:
        """How long to wait before the next try; None if there is to be none."""
        if isinstance(outcome, httpx.Response):
            is_final = outcome.status_code not in WORTH_RETRYING
            asked = retry_after(outcome)
        else:
            is_final = not _may_pass(outcome)
            asked = None
        self.failures += 1
        if is_final or self.failures >= self.retries.tries:
            return None
        wait = self.retries.wait_seconds(self.failures, asked)
        if monotonic() + wait > self.began + self.retries.total_seconds:
            return None
        self.perhaps_done = self.perhaps_done or _may_have_been_done(outcome)
        return wait

    def end(self, outcome: httpx.Response | httpx.RequestError) -> httpx.Response:
        """Give the last answer. Raises ReachError unless it is a success (or a 304).

        What is not there after a DELETE whose answer was lost has been removed, by it or not.
        """
        if isinstance(outcome, httpx.RequestError):
            lost = NotReached(f"{type(outcome).__name__}: {outcome}")
            raise self._noted(lost, outcome) from outcome
        status = outcome.status_code
        if outcome.is_success or status == HTTPStatus.NOT_MODIFIED:
            return outcome
        if self.is_delete and self.perhaps_done and status == HTTPStatus.NOT_FOUND:
            return outcome
        if status < HTTPStatus.BAD_REQUEST:
            # Never followed: a key is for the server that it was given to.
            raise UnexpectedAnswer(f"The answer is {status}, to be found elsewhere: check base_url")
        problem: Problem = problem_of(outcome)
        raise self._noted(problem, outcome)

    def _noted(self, error: ReachError, outcome: httpx.Response | httpx.RequestError) -> ReachError:
        error.perhaps_done = self.perhaps_done or _may_have_been_done(outcome)
        return error


def _may_have_been_done(outcome: httpx.Response | httpx.RequestError) -> bool:
    """Whether the server may have done what was asked. A 503 of Reach's too: a COMMIT was lost."""
    if isinstance(outcome, httpx.Response):
        return outcome.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
    return not isinstance(outcome, _NOT_SENT)


def _may_pass(error: httpx.RequestError) -> bool:
    """Whether another try may go better: not with a bad certificate, or what cannot be sent."""
    if not isinstance(error, httpx.TransportError) or isinstance(error, _CANNOT_PASS):
        return False
    return not any(isinstance(one, ssl.SSLCertVerificationError) for one in _causes(error))


def _chance(least: float, most: float) -> float:
    return least + (most - least) * random.random()  # noqa: S311 - it spreads, and hides nothing


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
