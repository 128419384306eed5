"""What the graph knows of a model that another node has written: its files are held to it.

A file names the builder that makes the model again. Whoever can write a file must not choose which
code that is.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from pydantic_core import to_jsonable_python

from modules.errors import ModelError
from modules.settings import ModelSettings, Settings


class KnownModel(Settings):
    """A builder and its parameters, as the configuration has them.

    Attributes:
      model: As in the configuration; "" of a model that was brought as a Keras file.
      parameters: As a file has them.
      others: What it may be instead, where a search chooses.
    """

    model: str
    parameters: dict[str, Any]
    others: tuple[KnownModel, ...] = ()

    @classmethod
    def of(cls, settings: ModelSettings, others: Sequence[ModelSettings] = ()) -> KnownModel:
        """The model of these settings, or of others."""
        return cls(
            model=settings.model,
            parameters=to_jsonable_python(settings.parameters),
            others=tuple(cls.of(each) for each in others),
        )

    def check(self, model: str, parameters: dict[str, Any], path: str) -> None:
        """Holds what a file says to what is known.

        Raises:
          ModelError: It names another builder, or a parameter that it cannot have.
        """
        problems = [each._problem(model, parameters) for each in (self, *self.others)]
        if all(problems):
            raise ModelError(
                f"{path}: {problems[0]}; whoever wrote it was not this pipeline",
                damaged=os.path.dirname(os.path.dirname(path)),
            )

    def _problem(self, model: str, parameters: dict[str, Any]) -> str:
        if model != self.model:
            return f"model must be {self.model!r}, got {model!r}"
        for name, value in parameters.items():
            if name not in self.parameters or value != self.parameters[name]:
                return f"parameters.{name} must be as configured, got {value!r}"
        return ""
