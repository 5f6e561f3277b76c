"""Taking reports in: by email, or from a provider. All share commits."""

import re
from collections.abc import Iterator, Sequence
from uuid import UUID

from reach.auth.return_path import CHARACTERS, Forged, ReturnPaths
from reach.db.database import Database
from reach.reports.model import Clues, Report
from reach.reports.record import Claim, Taken, record_all
from reach.settings import Settings

#: What a token and an id of ours look like, wherever they stand.
TOKEN = re.compile(rf"(?<![a-z0-9])[a-z2-7]{{{CHARACTERS}}}(?![a-z0-9])", re.IGNORECASE)
ID = re.compile(
    r"(?<![0-9a-z])[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}(?![0-9a-z])",
    re.IGNORECASE,
)
#: So many ids of one report are looked up: a message of ours is named by one.
MOST_NAMED = 24


class Intake:
    """Takes reports, and says of each what became of it. Nothing is lost: see ``take_in``."""

    def __init__(self, settings: Settings, database: Database) -> None:
        """Take the collaborators. Raises BadSettings without a secret."""
        self._return_paths = ReturnPaths(settings)
        # It locks messages that sign-ups lock too, and not after their people.
        self._join = database.group(record_all, apart=True)

    async def take_in(self, report: Report, *, is_verified: bool = False) -> Taken:
        """Record a report; once this returns, that is on disk.

        ``is_verified``: a provider has signed it. Raises ServiceUnavailable: it is to be told
        again then.
        """
        try:
            signed = self._signed(report.clues)
        except Forged:
            return "forged"
        named = () if signed else tuple(_named(report.clues))
        claim = Claim(report, signed, named, is_verified=is_verified)
        taken: Taken = await self._join(claim)
        return taken

    def _signed(self, clues: Clues) -> UUID | None:
        """Find the message that a signature of ours names. Raises Forged.

        One of a return path is ours or forged. In other texts, what looks like one may be anything.
        """
        if clues.return_path:
            try:
                found = self._return_paths.read_address(clues.return_path)
            except LookupError:
                found = None
            if found is not None:
                return found
        for token in _tokens(clues.ids):
            try:
                return self._return_paths.read(token)
            except Forged:
                continue
        return None


def _tokens(texts: Sequence[str]) -> Iterator[str]:
    for one in texts[:MOST_NAMED]:
        yield from TOKEN.findall(one)[:MOST_NAMED]


def _named(clues: Clues) -> Iterator[UUID]:
    """Find what may be ids of ours, in order, a few of them."""
    found: dict[UUID, None] = {}
    for one in clues.ids[:MOST_NAMED]:
        for text in ID.findall(one):
            found[UUID(text)] = None
    yield from list(found)[:MOST_NAMED]
