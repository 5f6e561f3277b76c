"""Completion in a real bash: what TAB offers."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.root import ROOT

#: Loads the completion as `reach --show-completion` prints it, then asks as TAB does.
SCRIPT = """
source <(reach --show-completion)
offer() {
  COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
  _reach_completion "$1"; echo "${COMPREPLY[*]}"
}
complete -p reach
offer reach mess
offer reach people list --sort ''
offer reach keys create shop --scope messages
"""


def test_bash_completes_commands_and_values(tmp_path: Path) -> None:
    """By its own name on the PATH; no database is needed, and nothing is made."""
    command = tmp_path / "reach"
    # Under its own name: `python -m reach` would be completed as another command.
    command.write_text(
        f"#!{sys.executable}\nimport sys\nfrom reach.__main__ import main\nsys.exit(main())\n"
    )
    command.chmod(0o755)
    done = subprocess.run(
        ["bash", "--norc", "--noprofile", "-c", SCRIPT],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "src")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "complete -o default -F _reach_completion reach",
        "messages",
        "newest oldest address",
        "messages:read messages:write",
    ]
    assert [file.name for file in tmp_path.iterdir()] == ["reach"]
