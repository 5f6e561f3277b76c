"""In CI nothing is skipped in silence."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.skips import allowed

HERE = Path(__file__).parent
SKIPPED_TEST = "import pytest\ndef test_server():\n    pytest.skip('no server here')\n"


def run_tests(folder: Path, *options: str, skips: str = "", ci: str = "true") -> tuple[int, str]:
    """Run one skipped test in a project of its own; return the exit code and the output."""
    (folder / "tests").mkdir()
    shutil.copy(HERE / "skips.py", folder / "tests/skips.py")
    (folder / "tests/skips.txt").write_text(skips)
    (folder / "tests/test_it.py").write_text(SKIPPED_TEST)
    (folder / "pytest.ini").write_text("[pytest]\npythonpath = .\naddopts = -p tests.skips\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "CI": ci},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("options", [(), ("--numprocesses=1",)], ids=["alone", "xdist"])
def test_a_skip_that_nobody_explained_fails_ci(tmp_path: Path, options: tuple[str, ...]) -> None:
    """The run fails, names the test, and still ends with pytest's closing line."""
    code, output = run_tests(tmp_path, *options)
    assert code == 1, output
    assert "SKIPPED IN CI: tests/test_it.py::test_server should run here" in output
    assert "1 skipped" in output.splitlines()[-1]


def test_a_skip_on_the_list_is_allowed(tmp_path: Path) -> None:
    """A test that cannot run there is named once, with its reason."""
    code, output = run_tests(tmp_path, skips="tests/test_it.py::test_server  has no server yet\n")
    assert code == 0, output


def test_a_skip_outside_ci_is_allowed(tmp_path: Path) -> None:
    """On a developer's machine what cannot run is reported, and no more."""
    code, output = run_tests(tmp_path, ci="")
    assert code == 0, output
    assert "SKIPPED IN CI" not in output


def test_a_name_without_a_reason_is_refused() -> None:
    """The list cannot grow by names alone."""
    with pytest.raises(ValueError, match="no reason"):
        allowed(["tests/test_it.py::test_server"])
