"""A SQLite file that cannot be opened is told as what is the matter, and all goes on afterwards."""

import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reach.db.errors import NoDatabase
from reach.runtime.process import opened
from reach.settings import Settings
from tests.support.database.files import signed_up
from tests.support.database.stored import people_in, sign_up
from tests.support.processes.ports import free_port
from tests.support.processes.running import client, running_api, said

MakeSettings = Callable[..., Settings]

NOBODY = 65534


def next_descriptor(pid: int) -> int:
    """Tell the number that the next file which a process opens will have."""
    taken = {int(found.name) for found in Path(f"/proc/{pid}/fd").iterdir()}
    return min(set(range(len(taken) + 1)) - taken)


@contextmanager
def few_descriptors(pid: int, left: int) -> Iterator[None]:
    """Let a process open ``left`` more files and no others."""
    usual = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (next_descriptor(pid) + left, usual[1]))
    yield
    resource.prlimit(pid, resource.RLIMIT_NOFILE, usual)


@pytest.mark.parametrize(
    ("was_open", "left"), [(True, 0), (False, 0), (False, 1), (False, 2), (False, 3)]
)
async def test_out_of_descriptors_is_told_as_what_it_is(
    make_settings: MakeSettings, sqlite: str, was_open: bool, left: int
) -> None:
    """Not as a folder that cannot be written to; and it heals.

    Whichever file is the one too many: of a database that is open, or of one that is being opened.
    """
    settings = make_settings(database_url=sqlite, port=free_port())
    async with running_api(settings) as api, client(settings) as http:
        if was_open:
            assert await signed_up(http, "before") == 202
        assert (await http.get("/livez")).status_code == 200
        with few_descriptors(api.pid, left):
            assert await signed_up(http, "few") == 503
            statuses = [(await http.get("/readyz")).status_code for _ in range(3)]
            assert set(statuses) == {503}
        assert await signed_up(http, "again") == 202
        await said(api, '"path":"/v1/signups"', 2 + was_open)  # all was said by now
        assert "This process has as many files open" in api.output
        assert "folder" not in api.output
        assert "cannot be opened" not in api.output


@contextmanager
def closed(folder: Path) -> Iterator[None]:
    """Let this process no longer see what is in it."""
    folder.chmod(0)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o700)


async def test_a_folder_above_that_is_closed_is_an_answer(
    make_settings: MakeSettings, migrated_file: Path, tmp_path: Path
) -> None:
    """Not a crash for the one who asks; and all goes on when it is open again."""
    above = tmp_path / "above"
    above.mkdir()
    (above / "data").mkdir()
    file = Path(shutil.copy(migrated_file, above / "data"))
    settings = make_settings(database_url=f"sqlite:///{file}")
    async with opened(settings) as database:
        await sign_up(database, settings, "ada@example.com")
        with closed(above):
            for work in (people_in(database), sign_up(database, settings, "bob@example.com")):
                with pytest.raises(NoDatabase, match="This user may not read and write it"):
                    await work
        assert await people_in(database) == ["ada@example.com"]
