"""A thread that owns a connection, and runs what the event loop hands it."""

import asyncio
import threading
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

R = TypeVar("R")


class DatabaseThread(threading.Thread):
    """Runs calls one after another, in the order they came.

    It is a daemon, unlike an executor's threads: a disk or a lock that never answers must
    not keep a process from ending.
    """

    def __init__(self, name: str) -> None:
        """Start it."""
        super().__init__(name=name, daemon=True)
        self._calls: SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None]
        self._calls = SimpleQueue()
        self.start()

    async def call(self, fn: Callable[[], R]) -> R:
        """Run ``fn`` there, in the caller's context (the request that it is for).

        A call that is cancelled before its turn is never run.
        """
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._calls.put((partial(copy_context().run, fn), answer))
        return await answer

    def run(self) -> None:
        """Serve calls until ``stop``."""
        while (call := self._calls.get()) is not None:
            fn, answer = call
            if answer.cancelled():
                continue
            try:
                result = fn()
            except BaseException as error:  # noqa: BLE001 - it belongs to the caller
                self._reply(answer, answer.set_exception, error)
            else:
                self._reply(answer, answer.set_result, result)

    def stop(self) -> None:
        """End it after the calls it has; does not wait."""
        self._calls.put(None)

    @staticmethod
    def _reply(answer: "asyncio.Future[Any]", reply: Callable[[Any], None], value: object) -> None:
        def deliver() -> None:
            if not answer.done():
                reply(value)

        loop = answer.get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(deliver)
