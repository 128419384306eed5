"""What the graph knows of a model that another node has written: its files are held to it.

A file names the builder that makes the model again. Whoever can write a file must not choose which
code that is.
"""

from __future__ import annotations

from typing import Any

from pydantic_core import to_jsonable_python

from modules.errors import ModelError
from modules.settings import ModelSettings, Settings, TuneSettings


class KnownModel(Settings):
    """A builder, and the values that each of its parameters may have.

    Attributes:
      model: As in the configuration; "" of a model that was brought as a Keras file.
      parameters: More than one value where a search chooses.
    """

    model: str
    parameters: dict[str, tuple[Any, ...]]

    @classmethod
    def of(cls, settings: ModelSettings, tune: TuneSettings | None = None) -> KnownModel:
        """The model of these settings, and of what is searched."""
        values = {name: (value,) for name, value in settings.parameters.items()}
        for name, choices in (tune.parameters if tune else {}).items():
            values[name] = (*values.get(name, ()), *choices)
        # As a file has them.
        return cls(model=settings.model, parameters=to_jsonable_python(values))

    def check(self, model: str, parameters: dict[str, Any], path: str) -> None:
        """Holds what a file says to what is known.

        Raises:
          ModelError: It names another builder, or a parameter that it cannot have.
        """
        problem = ""
        if model != self.model:
            problem = f"model must be {self.model!r}, got {model!r}"
        for name, value in parameters.items():
            if value not in self.parameters.get(name, ()):
                problem = problem or f"parameters.{name} must be as configured, got {value!r}"
        if problem:
            raise ModelError(
                f"{path}: {problem}; whoever wrote it was not this pipeline: remove its "
                "execution's directory and run again"
            )
