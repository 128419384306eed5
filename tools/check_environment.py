"""Says in one line what keeps this Python and this machine from carrying the project.

tools/setup.sh runs it with every Python it may choose. It therefore runs on Python 3.6 too, and
on the standard library alone. Exit status: 0 all is well, 1 another Python or machine is needed,
3 something has to be installed.
"""

import importlib.util
import os
import shutil
import sys
import sysconfig
from typing import NamedTuple, Optional, Tuple

FIRST_PYTHON, LAST_PYTHON = (3, 11), (3, 13)
# By the manylinux tags of the locked wheels: TensorFlow, tfx-bsl and ai-edge-litert on Python
# 3.11; ml-metadata and tensorflow-data-validation from 3.12 on.
GLIBC_OF_PYTHON_311 = (2, 27)
GLIBC_FROM_PYTHON_312 = (2, 39)

FITS, UNFIT, INCOMPLETE = 0, 1, 3

Version = Tuple[int, int]


class Facts(NamedTuple):
    """What the verdict depends on."""

    python: Version
    system: str
    machine: str
    glibc: Optional[Version]
    has_compiler: bool
    has_headers: bool
    has_venv: bool


def gather():
    # type: () -> Facts
    """Looks at this interpreter and this machine."""
    compilers = [
        os.environ.get(name) or sysconfig.get_config_var(name) or name for name in ("CC", "CXX")
    ]
    return Facts(
        python=sys.version_info[:2],
        system=os.uname().sysname if hasattr(os, "uname") else sys.platform,
        machine=os.uname().machine if hasattr(os, "uname") else "this machine",
        glibc=_glibc(),
        has_compiler=all(shutil.which(compiler.split()[0]) for compiler in compilers),
        has_headers=os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")),
        has_venv=all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")),
    )


def verdict(facts):
    # type: (Facts) -> Tuple[int, str]
    """Returns the exit status and the line to print."""
    python = _dotted(facts.python)
    if not FIRST_PYTHON <= facts.python <= LAST_PYTHON:
        return UNFIT, (
            f"Python must be 3.11, 3.12 or 3.13, but is {python}; "
            "install one of these, then: make setup PYTHON=/path/to/python3.11"
        )
    platform = (facts.system, facts.machine)
    if platform == ("Darwin", "arm64"):
        if facts.python < (3, 12):
            return UNFIT, (
                f"on macOS, Python must be 3.12 or 3.13, but is {python}; "
                "install one of these, then: make setup PYTHON=/path/to/python3.12"
            )
    elif platform != ("Linux", "x86_64"):
        return UNFIT, (
            f"TFX has no packages for {facts.system} on {facts.machine}; "
            "use 64-bit Linux on x86 (a container or WSL will do)"
        )
    elif facts.glibc is None:
        return UNFIT, "TFX's packages need the GNU C library; use Debian, Ubuntu or the like"
    else:
        needed = GLIBC_OF_PYTHON_311 if facts.python < (3, 12) else GLIBC_FROM_PYTHON_312
        if facts.glibc < needed:
            remedy = "a newer Linux is needed"
            if facts.glibc >= GLIBC_OF_PYTHON_311:
                remedy = (
                    "use Python 3.11 here (make setup PYTHON=/path/to/python3.11), "
                    "or Ubuntu 24.04, Debian 13 or newer"
                )
            return UNFIT, (
                f"Python {python} needs glibc {_dotted(needed)} or newer, "
                f"but this system has {_dotted(facts.glibc)}; {remedy}"
            )
    missing = [
        (what, package)
        for present, what, package in (
            (facts.has_compiler, "a C++ compiler", "g++"),
            (facts.has_headers, f"the headers of Python {python}", f"python{python}-dev"),
            (facts.has_venv, f"Python {python}'s venv module with pip", f"python{python}-venv"),
        )
        if not present
    ]
    if missing:
        return INCOMPLETE, (
            "missing: {}; install it (Debian, Ubuntu: apt-get install {}), then run make again"
        ).format(
            " and ".join(what for what, _ in missing), " ".join(package for _, package in missing)
        )
    return FITS, f"Python {python} and this system fit"


def _glibc():
    # type: () -> Optional[Version]
    try:
        name, version = os.confstr("CS_GNU_LIBC_VERSION").split()  # "glibc 2.36"
        major, minor = version.split(".")[:2]
        return (int(major), int(minor)) if name == "glibc" else None
    except (AttributeError, OSError, ValueError):  # musl, macOS
        return None


def _dotted(version):
    # type: (Version) -> str
    return ".".join(str(part) for part in version)


if __name__ == "__main__":
    status, line = verdict(gather())
    print(line)
    sys.exit(status)
