"""A cell that a spreadsheet would run is marked; reading gives back what was written."""

import pytest
from hypothesis import given, settings
from hypothesis.strategies import characters, text

from reach.people.cells import guarded, unguarded

RUN = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1", '=cmd|"/c calc"!A1')


@pytest.mark.parametrize("formula", RUN)
def test_a_formula_is_text(formula: str) -> None:
    """An apostrophe stands before it."""
    assert guarded(formula) == f"'{formula}"


@pytest.mark.parametrize("plain", ["", "Ada", "O'Hara", "'tis", "a=b", "ada@example.com", "1-2"])
def test_what_no_spreadsheet_runs_stays(plain: str) -> None:
    """It is written, and read, as it is."""
    assert guarded(plain) == unguarded(plain) == plain


@settings(max_examples=300)
@given(text(characters(codec="utf-8"), max_size=8) | text("'=+-@a\t", max_size=6))
def test_what_is_written_is_read(value: str) -> None:
    """Whatever it is, apostrophes of its own too; and no cell begins a formula."""
    cell = guarded(value)
    assert unguarded(cell) == value
    assert cell[:1] not in {*"=+-@\t\r", "\uff1d"}
