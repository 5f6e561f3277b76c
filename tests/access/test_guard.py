"""Who may do what: every operator's address is guarded, before anything else is looked at."""

from datetime import UTC, datetime, timedelta

import pytest

from reach.access import keys
from tests.servers.reach import Reach

OPEN = {"/v1/signups"}


async def operations(reach: Reach) -> list[tuple[str, str]]:
    """Every operation of the API that is not the door's."""
    paths = (await reach.http.get("/openapi.json")).json()["paths"]
    return [(m.upper(), p) for p, methods in paths.items() if p not in OPEN for m in methods]


async def test_every_operation_is_guarded_before_its_body_is_read(reach: Reach) -> None:
    """No key, junk, unknown, revoked, expired: one and the same 401. Wrong scope: 403."""
    await reach.key()
    revoked, expired = keys.generate(), keys.generate()
    await reach.database.write(keys.add, revoked, "revoked", keys.SCOPES)
    await reach.database.write(keys.revoke, "revoked")
    past = datetime.now(UTC) - timedelta(seconds=1)
    await reach.database.write(keys.add, expired, "expired", keys.SCOPES, past)
    given = [None, "Bearer", "Bearer junk", "Basic eDp5", f"Bearer {keys.generate()}"]
    given += [f"Bearer {revoked}", f"Bearer {expired}"]
    found = await operations(reach)
    assert len(found) >= 11
    for method, path in found:
        url = path.replace("{id}", "01a20aee-6a2a-7a2b-8fad-3dec2137a7f1")
        answers = {
            (a.status_code, a.content, a.headers["www-authenticate"])
            for a in [
                await reach.http.request(
                    method, url, content=b"{", headers={"Authorization": value} if value else {}
                )
                for value in given
            ]
        }
        assert len(answers) == 1, (method, path)
        assert answers.pop()[0] == 401
        headers = await reach.key("keys:write")
        answer = await reach.http.request(method, url, content=b"{", headers=headers)
        assert answer.status_code == 403, (method, path)


async def test_a_key_is_stored_as_a_digest(reach: Reach) -> None:
    """Its text is not in the database."""
    text = keys.generate()
    await reach.database.write(keys.add, text, "n", ["people:read"])
    stored = await reach.database.read(lambda tx: tx.execute(keys.api_keys.select()).all())
    assert text[11:43] not in repr(stored)


@pytest.mark.parametrize("spoil", [lambda t: t[:-1] + "!", lambda t: t[:20], lambda t: t + "a"])
def test_junk_is_known_without_a_look_up(spoil: object) -> None:
    """The checksum tells."""
    text = keys.generate()
    assert keys.is_well_formed(text)
    assert callable(spoil)
    assert not keys.is_well_formed(spoil(text))
    swapped = text[:10] + ("a" if text[10] != "a" else "b") + text[11:]
    assert not keys.is_well_formed(swapped)
