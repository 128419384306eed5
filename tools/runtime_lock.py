"""Prints the part of requirements.lock that the pipeline needs to run.

The lock also holds the development tools of requirements.in. An image has no use for those, and
needs every other package in the very version, with the very hashes, that was tested. So nothing is
resolved again: the lock says of each package who asked for it (`# via`), and kept is what the
names above `# -- development --` ask for, directly or through others.

Usage: python tools/runtime_lock.py requirements.in requirements.lock
"""

import re
import sys
from pathlib import Path

_NAME = re.compile(r"[\w.-]+")
_ASKED_BY = re.compile(r"^    #(?: via|  ) +(\S.*)$", re.MULTILINE)


def runtime_lock(requirements: str, lock: str) -> str:
    """Select from the text of a lock the packages that `requirements` needs at run time.

    Args:
      requirements: Text of requirements.in.
      lock: Text of requirements.lock, as uv writes it with its annotations.

    Returns:
      The lock's own lines, in their order; a package locked in two versions keeps both.

    Raises:
      ValueError: A name is not locked; `make lock` was forgotten.
    """
    runtime, _, _ = requirements.partition("# -- development --")
    wanted = {_name(line) for line in runtime.splitlines() if _NAME.match(line)}
    blocks = re.split(r"^(?=\w)", lock, flags=re.MULTILINE)[1:]
    if missing := wanted - {_name(block) for block in blocks}:
        raise ValueError(f"requirements.lock must hold {sorted(missing)}; run `make lock`")
    asked_by = [
        (_name(block), {_name(parent) for parent in _ASKED_BY.findall(block)}) for block in blocks
    ]
    while more := {name for name, parents in asked_by if parents & wanted} - wanted:
        wanted |= more
    return "".join(block for block in blocks if _name(block) in wanted)


def _name(line: str) -> str:
    """The package's normalized name at the start of a line."""
    found = _NAME.match(line)
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else ""


if __name__ == "__main__":
    REQUIREMENTS, LOCK = (Path(argument).read_text() for argument in sys.argv[1:])
    sys.stdout.write(runtime_lock(REQUIREMENTS, LOCK))
