"""The Dockerfile and the lock, read for the tests of the image."""

import re

from checkout import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def instructions():
    """`(keyword, rest)` of the Dockerfile, continued lines joined, comments left out."""
    lines = [
        line
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if not line.lstrip().startswith("#")
    ]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]


def arguments():
    """Defaults of the arguments before the first stage, with each other put in."""
    found = {}
    for keyword, rest in instructions():
        if keyword == "FROM":
            return found
        name, _, default = rest.partition("=")
        found[name] = expanded(default, found)
    raise AssertionError("the Dockerfile has no FROM")


def expanded(text, values):
    return re.sub(r"\$\{(\w+)\}", lambda match: values[match[1]], text)


def locked():
    """Versions by name for the image's Python and platform."""
    python = arguments()["PYTHON_VERSION"]
    target = {
        "python_full_version": python,
        "python_version": python.rpartition(".")[0],
        "sys_platform": "linux",
        "platform_machine": "x86_64",
    }
    lines = re.findall(r"^\w.*?(?= \\$)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    return {
        canonicalize_name(each.name): next(iter(each.specifier)).version
        for each in map(Requirement, lines)
        if each.marker is None or each.marker.evaluate(target)
    }
