"""Pods as processes: a file system of their own made of this machine's, and what they share."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from checkout import ROOT

from kfp_engine.kubernetes import SERVICE_ACCOUNT

PROGRAMS_VARIABLE = "KFP_PROGRAMS"
DRIVER, LAUNCHER = "driver", "launcher-v2"
# As the volume in which a pod's first container puts it.
LAUNCH = "/kfp-launcher/launch"

# $1 becomes the root; $2 is the service account, $3 the launcher, $4 /image, $5 what else is to be
# seen below /tmp, $6 what the pod leaves for the test. The rest is gone once the process has ended.
_ENTER = f"""
set -e
root=$1 account=$2 launcher=$3 image=$4 seen=$5 left=$6; shift 6
mount -t tmpfs tmpfs "$root"
for place in /*; do
    if [ -L "$place" ]; then cp -P "$place" "$root$place"
    elif [ "$place" != /tmp ] && [ "$place" != /run ] && [ -d "$place" ]; then
        mkdir "$root$place"; mount --rbind "$place" "$root$place"
    fi
done
mkdir -m 1777 "$root/tmp"
mkdir -p "$root/gcs" "$root/s3" "$root/minio" "$root/kfp-launcher" "$root/image" \\
    "$root/left" "$root{SERVICE_ACCOUNT}"
touch "$root{LAUNCH}"
mount --bind "$account" "$root{SERVICE_ACCOUNT}"
mount --bind "$launcher" "$root{LAUNCH}"
mount --bind "$image" "$root/image"
mount --bind "$left" "$root/left"
IFS=:
for place in $seen; do mkdir -p "$root$place"; mount --bind "$place" "$root$place"; done
exec chroot "$root" "$@"
"""


def lacking() -> str | None:
    """What this machine lacks to run pods, or None."""
    if os.geteuid():
        return "root, for file systems of their own"
    for program in ("unshare", "chroot", "openssl"):
        if not shutil.which(program):
            return program
    programs = Path(os.environ.get(PROGRAMS_VARIABLE, "/nowhere"))
    if not all((programs / name).is_file() for name in (DRIVER, LAUNCHER)):
        return f"KFP's {DRIVER} and {LAUNCHER} in the directory that {PROGRAMS_VARIABLE} names"
    return None


@dataclass(frozen=True)
class Pods:
    """Starts pods.

    Attributes:
      programs: The directory of driver and launcher.
      scratch: A directory for the roots, and for what pods leave.
      account: The directory of their service account.
      image: What is first on their PATH.
      environment: That all of them have.
    """

    programs: Path
    scratch: Path
    account: Path
    image: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run(
        self, name: str, command: list[str], environment: dict[str, str] | None = None
    ) -> tuple[int, Path]:
        """Run a command in a pod; returns the exit code and what the pod left in /left.

        `log.txt` in there is what it has written to its standard output and error.
        """
        root, left = self.scratch / "root", self.scratch / "left" / name
        root.mkdir(exist_ok=True)
        left.mkdir(parents=True)
        seen = [str(each) for each in (ROOT, Path(sys.prefix).resolve(), self.programs)]
        below_tmp = ":".join(each for each in seen if each.startswith("/tmp/"))
        launcher = self.programs / LAUNCHER
        parts = [root, self.account, launcher, self.image, below_tmp, left]
        enter = ["unshare", "--mount", "sh", "-c", _ENTER, "sh", *map(str, parts)]
        with (left / "log.txt").open("wb") as log:
            done = subprocess.run(
                [*enter, *command],
                env=self.environment | (environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            )
        return done.returncode, left
