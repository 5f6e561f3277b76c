"""Figures of a run that other pages quote, each in its place."""

import re
from collections.abc import Mapping

from tests.support.root import ROOT

README, SIZING = "README.md", "docs/guides/sizing.md"
NUMBER = r"[\d,]+"
ACCEPTED = "sign-up to acceptance, SQLite, 100 a second"
EMAILS = "emails/s, {}, one worker, by default"
REFUSED = "refusals (429) a second, all cores, counted in Redis"
REFUSED_ALONE = "refusals (429) a second, one process, counted in memory"
ONE_PROCESS = "sign-ups/s, {}, one process, with logs, metrics and counters"
#: The page, the place in it, and whose figure it has.
QUOTES = (
    (
        README,
        rf"(?<=^\| ){NUMBER}(?= sign-ups a second)",
        "sign-ups/s, SQLite, over 64 connections",
    ),
    (README, r"(?<=^\| )[\d.,]+ ms(?= from a sign-up)", f"{ACCEPTED}: p50"),
    (README, r"(?<=median; p99 )[\d.,]+ ms", f"{ACCEPTED}: p99"),
    (SIZING, rf"{NUMBER}(?= sign-ups on SQLite)", ONE_PROCESS.format("SQLite")),
    (SIZING, rf"{NUMBER}(?= on Postgres, by one API)", ONE_PROCESS.format("Postgres")),
    (SIZING, rf"{NUMBER}(?= emails on SQLite)", EMAILS.format("SQLite")),
    (SIZING, rf"{NUMBER}(?= on Postgres, by one worker)", EMAILS.format("Postgres")),
    (SIZING, rf"{NUMBER}(?= refusals \(429\) by one API)", REFUSED_ALONE),
    (SIZING, rf"{NUMBER}(?= by two, counted in Redis)", REFUSED),
)


def found(page: str, place: str) -> str:
    """What a page quotes in a place. Raises ValueError if it has no such place, or several."""
    text = (ROOT / page).read_text(encoding="utf-8")
    values = re.findall(place, text, re.MULTILINE)
    if len(values) != 1:
        raise ValueError(f"{page} has {len(values)} places like {place}, not one")
    return str(values[0])


def quote(values: Mapping[str, str]) -> None:
    """Write the figures, by name, to where they are quoted."""
    for page, place, name in QUOTES:
        found(page, place)
        path = ROOT / page
        text = path.read_text(encoding="utf-8")
        changed = re.sub(place, values[name], text, flags=re.MULTILINE)
        path.write_text(changed, encoding="utf-8")
