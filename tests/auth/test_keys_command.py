"""`reach keys revoke` revokes the key that was meant, or none."""

import re
from collections.abc import Callable

from reach.settings import Settings
from tests.support.processes.commands import ReachProcess


def run(settings: Settings, *arguments: str) -> tuple[int, str, str]:
    """Run `reach keys …` to its end: its exit code, its stdout, its stderr."""
    with ReachProcess("keys", *arguments, settings=settings) as process:
        return process.wait(), process.output, process.errors


def make(settings: Settings, name: str, *flags: str) -> tuple[str, str]:
    """Make a key: the key, and what was said beside."""
    code, key, said = run(settings, "create", name, "--scope", "people:read", *flags)
    assert code == 0
    return key.strip(), said


def listed(settings: Settings) -> dict[str, tuple[str, str]]:
    """Every key's id and state, by how it begins."""
    lines = run(settings, "list")[1].splitlines()
    parts = [line.split() for line in lines]
    return {prefix.rstrip("…"): (id_, state) for id_, prefix, state, *_ in parts}


def test_of_two_with_one_name_none_is_revoked(settings: Settings) -> None:
    """It ends with 1 and names both; by its id, or how it begins, each is revoked alone."""
    one, said = make(settings, "shop")
    assert "already" not in said
    other, said = make(settings, "shop")
    found = listed(settings)
    assert "There is a valid key of this name already" in said
    assert found[one[:11]][0] in said
    code, output, said = run(settings, "revoke", "shop", "--yes")
    assert (code, output) == (1, "")
    assert "Several keys have this name. Nothing was done. Say which one by its id." in said
    for key in (one, other):
        assert re.search(rf"{found[key[:11]][0]}  made 20\d\d-.* UTC, never used", said)
        assert key[3:11] not in said
    assert {state for _, state in listed(settings).values()} == {"valid"}
    assert run(settings, "revoke", found[one[:11]][0], "--yes")[:2] == (
        0,
        f"Revoked {one[:11]}… (shop).\n",
    )
    states = {prefix: state for prefix, (_, state) in listed(settings).items()}
    assert states == {one[:11]: "revoked", other[:11]: "valid"}
    assert run(settings, "revoke", "shop", "--yes")[:2] == (0, f"Revoked {other[:11]}… (shop).\n")
    assert run(settings, "revoke", found[one[:11]][0], "--yes")[0] == 1


def test_a_key_can_be_named_in_many_ways(
    sqlite: str, make_settings: Callable[..., Settings]
) -> None:
    """Its id, the whole key, what a list shows of it, its name; what it is not, it is not."""
    settings = make_settings(database_url=sqlite)
    forms = ["{id}", "{key}", "{begin}", "{begin}…", "{bare}", "{name}"]
    keys = {form: make(settings, f"key {number}")[0] for number, form in enumerate(forms)}
    ids = listed(settings)
    key = keys["{id}"]
    for wrong in ("key", key[:10], key[3:10], f"{key[:-1]}x", key[:20], ids[key[:11]][0][:-1]):
        code, output, _ = run(settings, "revoke", wrong, "--yes")
        assert (code, output) == (1, ""), wrong
    for number, (form, key) in enumerate(keys.items()):
        name, begin = f"key {number}", key[:11]
        wanted = form.format(id=ids[begin][0], key=key, begin=begin, bare=key[3:11], name=name)
        assert run(settings, "revoke", wanted, "--yes")[:2] == (
            0,
            f"Revoked {begin}… ({name}).\n",
        ), form
        states = [listed(settings)[key[:11]][1] for key in keys.values()]
        assert states == ["revoked"] * (number + 1) + ["valid"] * (len(keys) - number - 1)


def test_an_expired_key_is_not_in_the_way(
    sqlite: str, make_settings: Callable[..., Settings]
) -> None:
    """The name means the key that still opens something."""
    settings = make_settings(database_url=sqlite)
    old, _ = make(settings, "shop", "--expires-days", "0")
    new, said = make(settings, "shop")
    assert "already" not in said
    assert run(settings, "revoke", "shop", "--yes")[:2] == (0, f"Revoked {new[:11]}… (shop).\n")
    states = {prefix: state for prefix, (_, state) in listed(settings).items()}
    assert states == {old[:11]: "expired", new[:11]: "revoked"}
