"""The command line of a container, with what its placeholders stand for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from kfp_backend import values
from kfp_backend.driver import DriverError

_WHOLE_INPUT = "{{$}}"
_PLACEHOLDER = re.compile(r"\{\{\$.*?\}\}")


def command_line(
    arguments: Sequence[str], executor_input: pb.ExecutorInput, local_path: Callable[[str], str]
) -> list[str]:
    """Resolve every argument.

    As the backend's launcher does, the whole ExecutorInput is filled in first and the other
    placeholders after it: those inside a constant parameter are resolved, too.

    Args:
      arguments: As compiled.
      executor_input: Of the container.
      local_path: From the URI of an artifact to where the container has it.

    Raises:
      DriverError: A placeholder that stands for nothing.
    """
    # Where the backend's JSON has blanks is random, so nobody may rely on them.
    whole = json.dumps(values.whole_numbers(json_format.MessageToDict(executor_input)))
    replacements = _replacements(executor_input, local_path)
    resolved = []
    for argument in arguments:
        for part in _expand_if_present(argument, executor_input):
            text = part.replace(_WHOLE_INPUT, whole)
            for placeholder, value in replacements.items():
                text = text.replace(placeholder, value)
            if left := _PLACEHOLDER.search(text):
                raise DriverError(f"the placeholder {left[0]} stands for nothing")
            resolved.append(text)
    return resolved


def _expand_if_present(argument: str, executor_input: pb.ExecutorInput) -> list[str]:
    """`{"IfPresent": {"InputName": …, "Then": …, "Else": …}}` is none, one or more arguments."""
    if argument.lstrip().startswith('{"Concat":'):
        raise DriverError(f"a Concat at run time is not known: {argument}")
    if not argument.lstrip().startswith('{"IfPresent":'):
        return [argument]
    clause: dict[str, Any] = json.loads(argument)["IfPresent"]
    given = clause["InputName"] in executor_input.inputs.parameter_values
    chosen = clause.get("Then" if given else "Else", [])
    parts = [chosen] if isinstance(chosen, str) else chosen
    if not all(isinstance(part, str) for part in parts):
        raise DriverError(f"only texts are known in an IfPresent: {argument}")
    return list(parts)


def _replacements(
    executor_input: pb.ExecutorInput, local_path: Callable[[str], str]
) -> dict[str, str]:
    found = {}
    for direction in ("inputs", "outputs"):
        for name, artifacts in getattr(executor_input, direction).artifacts.items():
            if artifacts.artifacts:
                place = f"{{{{$.{direction}.artifacts['{name}']"
                artifact = artifacts.artifacts[0]
                found[place + ".uri}}"] = artifact.uri
                found[place + ".path}}"] = artifact.custom_path or local_path(artifact.uri)
    for name, value in executor_input.inputs.parameter_values.items():
        found[f"{{{{$.inputs.parameters['{name}']}}}}"] = values.to_text(value)
    for name, parameter in executor_input.outputs.parameters.items():
        place = f"{{{{$.outputs.parameters['{name}'].output_file}}}}"
        found[place] = parameter.output_file
    return found
