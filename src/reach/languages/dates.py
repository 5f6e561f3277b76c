"""Dates as people of each language write them."""

from datetime import datetime
from functools import lru_cache

#: "4 March 2026": most who read English have it so, and nobody mistakes it.
LOCALES = {"en": "en_GB"}


def long_date(moment: datetime | str, language: str) -> str:
    """Write the day of an aware time, as each language does: "4 March 2026".

    In a language that Babel does not know it is "2026-03-04", which everybody reads.
    A message's data have it as text, as ``isoformat`` writes it.
    """
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    return _written(moment.date().isoformat(), language)


@lru_cache(1024)
def _written(day: str, language: str) -> str:
    # Pages and emails without a date do without 8 MB of locales.
    from babel.core import UnknownLocaleError  # noqa: PLC0415
    from babel.dates import format_date  # noqa: PLC0415

    locale = LOCALES.get(language, language.replace("-", "_"))
    try:
        shown: str = format_date(datetime.fromisoformat(day), "long", locale=locale)
    except (UnknownLocaleError, ValueError):  # a maker's own language may be one of few
        return day
    return shown
