"""What KFP's driver and launcher, release 2.16.1, have made of commands; `tests/recorded` has it.

`tests/e2e/test_kfp_engine.py` runs the programs and compares. What differs from run to run, and
what belongs to a machine, has the same name everywhere: see `neutral`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from checkout import ROOT

RECORDED = ROOT / "tests" / "recorded"

_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
# <pipeline>/<run>/<task>/<random>
_PLACE = re.compile(f"(/[^/]+/){_UUID}(/[^/]+/){_UUID}")
# Both are carried by the launcher in the same way, from directories of these names.
_SCHEME = re.compile("minio(?=://)|(?<=/)minio(?=/)")
# Configurations and digests change with the code; what arrives of them does not.
_LONG = 40


def recorded(name: str) -> dict[str, list[Any]]:
    """The arguments of each task's command."""
    return json.loads((RECORDED / f"{name}.json").read_text())


def neutral(arguments: list[str], disk: str = "") -> list[Any]:
    """Arguments without what differs from run to run; JSON messages as dictionaries.

    Args:
      arguments: As the container was given them, on s3:// or minio://.
      disk: Where an emulated container has what is at the root of a real one.
    """
    return [
        _neutral_argument(each.replace(f"{disk}/", "/") if disk else each) for each in arguments
    ]


def _neutral_argument(text: str) -> Any:
    text = _SCHEME.sub("s3", _PLACE.sub(r"\1RUN\2RANDOM", text))
    if not text.startswith("{"):
        return text
    message = json.loads(text)
    for artifacts in message.get("inputs", {}).get("artifacts", {}).values():
        for artifact in artifacts["artifacts"]:
            assert artifact["name"].isdigit()
            artifact["name"] = "1"
            _neutralize(artifact["metadata"])
    values = message.get("inputs", {}).get("parameterValues", {})
    for name, value in values.items():
        if isinstance(value, str) and len(value) > _LONG:
            values[name] = "..."
    return message


def _neutralize(metadata: dict[str, Any]) -> None:
    assert json.loads(metadata["store_session_info"])["Provider"]
    metadata["store_session_info"] = "{}"
    if "split_names" in metadata:  # Transform's come from a set
        metadata["split_names"] = json.dumps(sorted(json.loads(metadata["split_names"])))
    for name in metadata:
        if name.endswith("_model_id"):  # of a blessing: the names of artifacts
            assert metadata[name].isdigit()
            metadata[name] = "1"


def difference(name: str, found: dict[str, list[Any]], directory: Path) -> str:
    """Nothing if it is as recorded; else the file with what should be recorded instead."""
    if found == recorded(name):
        return ""
    new = directory / f"{name}.json"
    new.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    return f"{new} differs from {RECORDED.name}/{new.name}"
