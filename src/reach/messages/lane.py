"""The lane to the mail server: open, or paused after it turned us rather than a message away."""

import anyio

from reach.messages.outcome import Outcome, Paused, Refused, Sent
from reach.settings import Settings

#: So many recipients refused in a row, and nobody served, means that it is us they refuse.
REFUSALS_TO_PAUSE = 20


class Lane:
    """One worker's view of the way out, in memory.

    It is paused until a probe gets through, then on trial: one message at a time, until the
    server deals with one. A pause during the trial waits longer than the one before, so a
    server that accepts a login and then refuses everything is not hammered.
    """

    def __init__(self, settings: Settings) -> None:
        """Begin open."""
        self._first_seconds = settings.pause_first_seconds
        self._cap_seconds = settings.pause_cap_seconds
        self._pauses_in_a_row = 0
        self._refused: set[str] = set()
        self._opened, self._closed = anyio.Event(), anyio.Event()
        self._opened.set()
        self.reason: Paused | None = None

    @property
    def is_paused(self) -> bool:
        """Whether nothing may be sent."""
        return self.reason is not None

    @property
    def is_on_trial(self) -> bool:
        """Whether it was paused, and no message has been dealt with since."""
        return self._pauses_in_a_row > 0

    @property
    def pause_seconds(self) -> float:
        """How long to wait before the next probe."""
        doubled = self._first_seconds * 2.0 ** min(self._pauses_in_a_row - 1, 32)
        return float(min(self._cap_seconds, doubled))

    def judge(self, outcome: Outcome, recipient: str) -> Outcome:
        """Take note of an attempt's outcome; returns what it means for its message.

        The twentieth Refused in a row, each for another recipient, is a Paused.
        """
        if isinstance(outcome, Refused) and outcome.code is None:
            return outcome  # our own doing: the server was not even asked
        if isinstance(outcome, Refused):
            self._refused.add(recipient)
            if len(self._refused) >= REFUSALS_TO_PAUSE:
                words = f"{REFUSALS_TO_PAUSE} recipients in a row were refused; {outcome.text}"
                outcome = Paused(words, outcome.code, outcome.enhanced)
        elif isinstance(outcome, Sent):
            self._refused.clear()
        if isinstance(outcome, Paused):
            self.pause(outcome)
        else:
            self._pauses_in_a_row = 0
        return outcome

    def pause(self, reason: Paused) -> None:
        """Close it; again and for longer if it is closed already and a probe has failed."""
        if not self.is_paused:
            self._opened = anyio.Event()
            self._pauses_in_a_row += 1
        self.reason = reason
        self._closed.set()

    def wait_longer(self) -> None:
        """Note that a probe has failed."""
        self._pauses_in_a_row += 1

    def open(self) -> None:
        """Let one message through."""
        self.reason = None
        self._closed = anyio.Event()
        self._opened.set()

    async def wait_until_open(self) -> None:
        """Wait for ``open``."""
        await self._opened.wait()

    async def wait_until_paused(self) -> None:
        """Wait for ``pause``."""
        await self._closed.wait()
