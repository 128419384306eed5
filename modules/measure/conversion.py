"""Which TFLite files can be made of models, found out before the models are trained."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modules.code_digest import code_digest
from modules.data.spec import DataSpec
from modules.errors import ModelError
from modules.input_digest import model_digest
from modules.measure import conversion_worker
from modules.measure.child_process import Child, ChildError
from modules.settings import Int8Input, ModelSettings, TFLiteVariant

_LOG = logging.getLogger("tfx_distill.run")
# For each model.
_TIME_LIMIT_S = 600.0

# The models of a trial and the variants that are wanted of each, by their place in the
# configuration.
Wanted = Mapping[str, tuple[ModelSettings, Sequence[TFLiteVariant]]]
# Why a file cannot be made, by place and variant, with a space between them.
Problems = dict[str, str]


class TrialConversions:
    """Converts untrained models in a process of its own, which the converter may well crash.

    As a context it begins at once, so that the caller can go on meanwhile. None is left when the
    context ends.

    Args:
      wanted: What is to be converted.
      spec: What the models take and answer.
      memory: A file in which the result is kept for the next run with the same models and code.
      keep: A directory for the files, which are called `<place> <variant>.tflite`.
      int8_input: See `modules.export.tflite.Conversion`.
    """

    def __init__(
        self,
        wanted: Wanted,
        spec: DataSpec,
        memory: Path | None = None,
        keep: Path | None = None,
        int8_input: Int8Input = "uint8",
    ):
        models = {
            place: {
                "settings": {"model": settings.model, "parameters": settings.parameters},
                "variants": list(variants),
            }
            for place, (settings, variants) in wanted.items()
        }
        self._task: dict[str, Any] = {
            "models": models,
            "spec": spec.model_dump(mode="json"),
            "keep": str(keep) if keep else None,
            "int8_input": int8_input,
        }
        digests = [model_digest(settings) for settings, _ in wanted.values()]
        asked = json.dumps([self._task, code_digest(), digests], sort_keys=True)
        self._key = hashlib.sha256(asked.encode()).hexdigest()
        self._memory = memory
        self._child: Child | None = None

    def __enter__(self) -> TrialConversions:
        if self._remembered() is None:
            self._start([])
        return self

    def __exit__(self, *error: Any) -> None:
        if self._child is not None:
            self._child.__exit__(None, None, None)
            self._child = None

    def problems(self) -> dict[tuple[str, str], str]:
        """Why a file cannot be made, by place and variant; waits for the process."""
        found = self._remembered()
        if found is None:
            found = self._ask()
        split = ((subject.partition(" "), reason) for subject, reason in found.items())
        return {(place, variant): reason for (place, _, variant), reason in split}

    def _ask(self) -> Problems:
        """A variant that ends the process is a problem, and the others are tried again."""
        crashed: Problems = {}
        while self._child is not None:
            try:
                answered, _ = self._child.answer()
            except ChildError as error:
                if not error.subject or error.subject in crashed:
                    if self._task["keep"]:
                        raise ModelError(
                            f"the trial conversions have failed: {error.reason}; try again, or "
                            "search fewer students"
                        ) from error
                    # Whatever it is, training and export will tell.
                    _LOG.warning("the trial conversions have failed: %s", error.reason)
                    break
                crashed[error.subject] = f"its conversion failed, {error.reason}"
                self.__exit__()
                self._start(list(crashed))
            else:
                found = crashed | answered
                if self._memory is not None:
                    self._memory.write_text(json.dumps({self._key: found}))
                return found
        return crashed

    def _remembered(self) -> Problems | None:
        try:
            found = json.loads(self._memory.read_text()) if self._memory else {}
        except (OSError, ValueError):
            return None
        problems: Problems | None = found.get(self._key)
        return problems

    def _start(self, skip: Sequence[str]) -> None:
        # The user's own builders lie where the command line has looked for them.
        task = self._task | {"skip": list(skip), "path": sys.path}
        limit = _TIME_LIMIT_S * max(1, len(task["models"]))
        self._child = Child(conversion_worker, task, {}, limit).__enter__()
