"""People as a file: all who are chosen, once, safe in a spreadsheet, and cut short if it fails."""

import asyncio
import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from reach.auth.audit import audit
from reach.db.transaction import Transaction
from reach.people import exporting
from reach.people.exporting import COLUMNS
from tests.support.clock import eventually
from tests.support.database.stored import addresses, sign_up
from tests.support.people import add, operator, signed_up
from tests.support.processes.commands import run
from tests.support.processes.reach import Reach

URL = "/v1/people/export"
PEOPLE = 300


async def exported(http: httpx.AsyncClient, **params: str) -> list[dict[str, Any]]:
    """Download people, as they are written."""
    answer = (await http.get(URL, params=params)).raise_for_status()
    if params.get("format") == "ndjson":
        return [json.loads(line) for line in answer.text.splitlines()]
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


def audited(tx: Transaction) -> list[Mapping[str, Any]]:
    """List what was noted of exports."""
    chosen = (audit.c.via, audit.c.details, audit.c["count"])
    found = select(*chosen).where(audit.c.action == "people.export")
    return [dict(row) for row in tx.execute(found.order_by(audit.c.id)).mappings()]


async def test_everybody_is_in_it_once(reach: Reach, monkeypatch: pytest.MonkeyPatch) -> None:
    """Newest first, however many pages it takes; in both forms, with the columns asked for."""
    monkeypatch.setattr(exporting, "PAGE_ROWS", 2)
    monkeypatch.setattr(exporting, "FOUND_ROWS", 2)
    http = await operator(reach)
    for number in range(4):
        await add(http, email=f"p{number}@example.com", description="=1+1", language="de")
    person = (await add(http, email="p4@example.org", welcome=False)).json()
    newest_first = [f"p{n}@example.com" for n in (3, 2, 1, 0)]
    found = await exported(http)
    assert [row["email"] for row in found] == ["p4@example.org", *newest_first]
    assert list(found[0]) == list(exporting.USUAL)
    assert found[0]["created_at"] == person["created_at"]
    assert found[1]["description"] == "'=1+1"
    columns = "email,welcome,description,consent_form,consented_at"
    found = await exported(http, format="ndjson", columns=columns, q="p4")
    assert found == [
        {
            "email": "p4@example.org",
            "welcome": None,
            "description": None,
            "consent_form": "operator",
            "consented_at": person["created_at"],
        }
    ]
    of_all = await exported(http, columns=",".join(COLUMNS), format="ndjson")
    assert [list(row) for row in of_all] == [list(COLUMNS)] * 5
    for params in (
        {"language": "de"},
        {"q": "p"},
        {"search": "example.com"},
        {"welcome": "queued"},
    ):
        found = await exported(http, **params)
        assert {row["email"] for row in found} >= set(newest_first), params
        assert len(found) == 4 + ("q" in params), params
    assert await exported(http, confirmed="true") == []
    noted = await reach.database.read(audited)
    assert [entry["via"] for entry in noted] == ["api"] * 8
    assert [entry["count"] for entry in noted] == [5, 1, 5, 4, 5, 4, 4, 0]
    assert noted[5]["details"]["searched_by"] == ["search"]
    assert "example" not in repr(noted)


async def test_who_may_and_what_may_be_asked(reach: Reach) -> None:
    """Only with `people:read`; a column or a form that there is not is refused, and not noted."""
    http = await operator(reach, "people:write", "messages:read")
    assert (await http.get(URL)).status_code == 403
    http = await operator(reach, "people:read")
    for params in (
        {"columns": "email,secret"},
        {"format": "xlsx"},
        {"search": "\0"},
        {"search": " "},
        {"colums": "id"},
    ):
        assert (await http.get(URL, params=params)).status_code == 422, params
    head = await http.head(URL)
    assert head.status_code == 200
    assert await reach.database.read(audited) == [], "HEAD hands nobody out"
    answer = await http.get(URL)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert head.headers["content-disposition"] == answer.headers["content-disposition"]


async def test_a_failure_cuts_it_short(reach: Reach, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who downloads it can tell: what began well is not ended as if it were whole."""
    monkeypatch.setattr(exporting, "PAGE_ROWS", 2)
    http = await operator(reach)
    for number in range(4):
        await add(http, email=f"p{number}@example.com")
    reads: list[object] = []
    read = reach.database.read

    def fails_at_last(fn: Any, *given: Any, **named: Any) -> Any:
        reads.append(fn)
        if len(reads) > 1:
            raise RuntimeError("out of order")
        return read(fn, *given, **named)

    monkeypatch.setattr(reach.database, "read", fails_at_last)
    with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
        await http.get(URL)
    assert len(reads) > 1
    monkeypatch.undo()
    (noted,) = await reach.database.read(audited)
    assert noted["count"] == 2, "those of the first page are handed out"


async def test_who_hangs_up_is_noted_with_what_they_have(
    reach: Reach, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as were read for them, and not all that they asked for."""
    monkeypatch.setattr(exporting, "PAGE_ROWS", 1)
    http = await operator(reach)
    await sign_up(reach.database, reach.settings, *addresses(PEOPLE))
    read, is_gone = reach.database.read, asyncio.Event()

    async def waits(fn: Any, *given: Any, **named: Any) -> Any:
        if fn is exporting._walk and given[-1] is not None:  # not the first page
            await is_gone.wait()
        return await read(fn, *given, **named)

    monkeypatch.setattr(reach.database, "read", waits)
    async with http.stream("GET", URL) as answer:
        lines = answer.aiter_lines()
        assert (await anext(lines)).startswith("id,")
        assert "@example.com" in await anext(lines)
    is_gone.set()

    async def count() -> int:
        (noted,) = await read(audited)
        return int(noted["count"])

    assert await eventually(count) < PEOPLE


async def test_what_is_exported_is_imported(reach: Reach, tmp_path: Path) -> None:
    """Names, notes and languages come back as they were, formulas too; who is known stays."""
    http = await operator(reach)
    people = [
        ("=Ada", "'=1", "de"),
        ("'+Bob", "@x", "en"),
        ('Ça,"va', "-", "fr"),
    ]
    for n, (name, note, language) in enumerate(people):
        answer = await add(
            http, email=f"p{n}@example.com", name=name, description=note, language=language
        )
        assert answer.status_code == 201, answer.text
    await signed_up(reach, "-dash@example.com")
    file, again = tmp_path / "people.csv", tmp_path / "again.csv"
    columns = ("--columns", "email,name,description,language")
    command = ("people", "export", *columns, "--output")
    assert run(*command, str(file), settings=reach.settings)[0] == 0
    assert run(*command, str(file), settings=reach.settings)[0] == 2
    assert file.stat().st_mode & 0o777 == 0o600
    text = file.read_text(encoding="utf-8")
    assert '"\'=Ada"' in text or "'=Ada," in text
    code, output = run("people", "import", str(file), settings=reach.settings)
    assert (code, output.split(":")[0]) == (0, "4 rows")
    for person in (await http.get("/v1/people")).json()["items"]:
        assert (await http.delete(f"/v1/people/{person['id']}")).status_code == 204
    assert run("people", "import", str(file), settings=reach.settings)[0] == 0
    assert run(*command, str(again), settings=reach.settings)[0] == 0
    assert sorted(again.read_text("utf-8").splitlines()) == sorted(text.splitlines())
