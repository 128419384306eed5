"""Which TFLite files can be made of models, found out before the models are trained."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from modules.data.spec import DataSpec
from modules.measure import conversion_worker
from modules.measure.child_process import Child, ChildError
from modules.settings import ModelSettings, TFLiteVariant

_LOG = logging.getLogger("tfx_distill.run")
_TIME_LIMIT_S = 600.0

# The models of a trial and the variants that are wanted of each, by their place in the
# configuration.
Wanted = Mapping[str, tuple[ModelSettings, Sequence[TFLiteVariant]]]


class TrialConversions:
    """Converts untrained models in a process of its own, which the converter may well crash.

    As a context it begins at once, so that the caller can go on meanwhile. None is left when the
    context ends.

    Args:
      wanted: What is to be converted.
      spec: What the models take and answer.
    """

    def __init__(self, wanted: Wanted, spec: DataSpec):
        models = {
            place: {
                "settings": {"model": settings.model, "parameters": settings.parameters},
                "variants": list(variants),
            }
            for place, (settings, variants) in wanted.items()
        }
        # The user's own builders lie where the command line has looked for them.
        self._task: dict[str, Any] = {
            "models": models,
            "spec": spec.model_dump(mode="json"),
            "path": sys.path,
        }
        self._child = self._start({})

    def __enter__(self) -> TrialConversions:
        self._child.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._child.__exit__(None, None, None)

    def problems(self) -> dict[tuple[str, str], str]:
        """Why a file cannot be made, by place and variant; waits for the process.

        A variant that ends the process is one of them, and the others are tried again.
        """
        crashed: dict[str, str] = {}
        while True:
            try:
                answered, _ = self._child.answer()
                break
            except ChildError as error:
                answered = {}
                if not error.subject or error.subject in crashed:
                    # Whatever it is, training and export will tell.
                    _LOG.warning("the trial conversions have failed: %s", error.reason)
                    break
                crashed[error.subject] = f"its conversion failed, {error.reason}"
            self.__exit__()
            self._child = self._start(crashed).__enter__()
        found = {}
        for subject, reason in (crashed | answered).items():
            place, _, variant = subject.partition(" ")
            found[place, variant] = reason
        return found

    def _start(self, crashed: Mapping[str, str]) -> Child:
        return Child(conversion_worker, self._task | {"skip": list(crashed)}, {}, _TIME_LIMIT_S)
