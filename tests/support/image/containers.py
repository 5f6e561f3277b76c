"""Processes of the image, as an engine runs them that is told to be strict.

Process 1 of their own, with the image's user, variables and entrypoint; the root file system cannot
be written to, but for /tmp and one volume; no capability can be had, and there is no shell.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from tests.support.image.built import Image
from tests.support.processes import ReachProcess

LAY_OUT = """
set -e
root=$1 volume=$2
shift 2
mount --make-rprivate /
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --bind "$volume" "$root/var/lib/reach"
for shell in sh dash bash; do
  [ ! -e "$root/usr/bin/$shell" ] || mount --bind /dev/null "$root/usr/bin/$shell"
done
exec "$@"
"""
OF_ITS_OWN = ("--mount", "--pid", "--fork", "--kill-child=SIGKILL")


class Container(ReachProcess):
    """One process of the image, on this machine's own network."""

    def __init__(
        self,
        image: Image,
        *arguments: str,
        volume: Path,
        variables: Mapping[str, str],
        entrypoint: Sequence[str] | None = None,
    ) -> None:
        """Run the image's entrypoint with ``arguments``, or another one."""
        super().__init__(*arguments)
        self.volume = volume
        told = {**image.environment, **variables}
        user, _, group = image.config["User"].partition(":")
        assert user.isdecimal(), "a number: what forbids root cannot look names up"
        assert group.isdecimal()
        self._command = (
            *("unshare", *OF_ITS_OWN, "--", "sh", "-c", LAY_OUT, "sh"),
            *(str(image.root), str(volume)),
            *("setpriv", "--no-new-privs", "--bounding-set=-all,+setuid,+setgid,+sys_chroot"),
            *("env", "-i", *(f"{name}={value}" for name, value in told.items())),
            *(_here("chroot"), f"--userspec={user}:{group}", "--groups=", str(image.root)),
            # An engine looks it up so too; chroot itself runs with the image's PATH.
            *(image.config["Entrypoint"] if entrypoint is None else entrypoint),
            *arguments,
        )

    @property
    def first(self) -> psutil.Process:
        """Process 1."""
        (found,) = psutil.Process(self.pid).children()
        return found

    def stop(self, seconds: float = 15) -> int:
        """Ask it to end (SIGTERM), and return its exit code."""
        self.first.terminate()
        return self.wait(seconds)


def _here(program: str) -> str:
    """Find a program of this machine's, where the image's PATH holds."""
    found = shutil.which(program)
    assert found is not None, program
    return found
