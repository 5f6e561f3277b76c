"""Waiting for a condition, with a deadline: the tests' only way to wait."""

import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

import anyio

T = TypeVar("T")


@overload
async def eventually(
    condition: Callable[[], Awaitable[T]], seconds: float = 10, every: float = 0.01
) -> T: ...
@overload
async def eventually(condition: Callable[[], T], seconds: float = 10, every: float = 0.01) -> T: ...
async def eventually(
    condition: Callable[[], object], seconds: float = 10, every: float = 0.01
) -> object:
    """Wait until ``condition()`` is true, and return what it gave.

    What it raises is not waited for. Raises AssertionError, with the condition's source and its
    last value, after ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(_complaint(condition, value, seconds))
        await anyio.sleep(every)


def wait_until(condition: Callable[[], T], seconds: float = 10, every: float = 0.01) -> T:
    """Do as ``eventually`` does, where no event loop runs: for the servers themselves."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(_complaint(condition, value, seconds))
        time.sleep(every)
    return value


def _complaint(condition: Callable[[], object], value: object, seconds: float) -> str:
    try:
        source = " ".join(inspect.getsource(condition).split())
    except (OSError, TypeError):  # a built-in, or made by partial
        source = repr(condition)
    return f"still {value!r} after {seconds:g} s: {source}"
