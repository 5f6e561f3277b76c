"""Operators' keys: long, checked without a look-up, stored as a digest."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reach.auth import keys
from reach.auth.keys import Operator
from tests.support.processes.reach import Reach


def test_keys_are_long_and_all_different() -> None:
    """190 random bits behind a prefix that tells scanners what it is."""
    made = {keys.generate() for _ in range(1000)}
    assert len(made) == len({key[3:11] for key in made}) == 1000
    assert {(key[:3], len(key)) for key in made} == {("rk_", 49)}
    assert all(keys.is_well_formed(key) for key in made)


@settings(derandomize=True, database=None, deadline=None)
@given(st.text() | st.from_regex(r"rk_[0-9A-Za-z]{46}"))
def test_junk_is_known_by_its_checksum(text: str) -> None:
    """Of 57 thousand million texts of the right form one is a key."""
    assert not keys.is_well_formed(text)


def test_a_slip_of_the_pen_is_no_key() -> None:
    """One letter changed, two exchanged, one left out, one added, a line break: known as junk."""
    key = keys.generate()
    wrong = {key[:n] + ("a" if key[n] != "a" else "b") + key[n + 1 :] for n in range(49)}
    wrong |= {key[:n] + key[n + 1] + key[n] + key[n + 2 :] for n in range(3, 48)} - {key}
    wrong |= {key[:-1], key[1:], key + "a", key + "\n", f" {key}", key.upper(), key.lower(), ""}
    assert [text for text in wrong if keys.is_well_formed(text)] == []


async def test_a_key_is_stored_as_a_digest(reach: Reach, tmp_path: Path) -> None:
    """Its secret is in no row, and on SQLite in no file; its prefix names it."""
    text = keys.generate()
    key = await reach.database.write(keys.add, text, "n", ["people:read"])
    stored = await reach.database.read(lambda tx: tx.execute(keys.api_keys.select()).all())
    assert key.prefix == text[3:11]
    for secret in (text, text[11:43], text[11:]):
        assert secret not in repr(stored) + repr(key)
        assert [name for name, held in contents(tmp_path) if secret.encode() in held] == []
    found = await reach.database.read(keys.find, text)
    assert found == Operator(key.id, key.scopes, key.last_used_at)


def contents(folder: Path) -> list[tuple[str, bytes]]:
    """Every file in a folder."""
    return [(path.name, path.read_bytes()) for path in folder.rglob("*") if path.is_file()]


async def test_a_key_with_the_prefix_of_another_is_unknown(reach: Reach) -> None:
    """Who knows a key's public name and the checksum's rule has no key yet."""
    text = keys.generate()
    await reach.database.write(keys.add, text, "n", ["people:read"])
    body = text[3:11] + keys.generate()[11:43]
    forged = f"rk_{body}{keys._checksum(body)}"
    assert keys.is_well_formed(forged)
    headers = {"Authorization": f"Bearer {forged}"}
    assert (await reach.http.get("/v1/people", headers=headers)).status_code == 401


@pytest.mark.parametrize("scopes", [[], ["people"], ["people:read", "*"]])
async def test_scopes_are_those_that_exist(reach: Reach, scopes: list[str]) -> None:
    """A key that may do nothing, or what nobody knows, is not made."""
    with pytest.raises(ValueError, match="scopes are"):
        await reach.database.write(keys.add, keys.generate(), "n", scopes)
    assert await reach.database.read(keys.all_keys) == []
