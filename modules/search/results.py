"""What a search has found, as the report shows it and as its file has it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from modules.settings import Objective, Settings

# `untried`: the time was up, there was nothing to compare it on, or others told enough of where the
# cheapest good one is. `stopped`: so they did after fewer epochs, or were better.
State = Literal["refused", "untried", "failed", "stopped", "compared", "chosen"]


class SearchedStudent(Settings):
    """One candidate.

    Attributes:
      name: The model, its parameters and the objective, in one line.
      state: What became of it; `refused` ones broke a limit before any training.
      reason: Why it was refused, failed or was not tried; else empty.
      labels_alone: Whether it had no teacher.
      parameters: Number of weights.
      sizes: Bytes of its TFLite files, by variant.
      latencies: Milliseconds per single example (median), by variant.
      epochs: Of its longest training; 0 if it was not trained.
      loss: Mean cross-entropy (of a regression the hard loss) on the validation part.
      score: The task's main number there.
    """

    name: str
    state: State
    reason: str = ""
    labels_alone: bool = False
    parameters: int = Field(0, ge=0)
    sizes: dict[str, int] = Field({})
    latencies: dict[str, float] = Field({})
    epochs: int = Field(0, ge=0)
    loss: float | None = None
    score: float | None = None


class SearchResults(Settings):
    """A whole search; `tuner_results.json` in the artifact TunerResults.

    Attributes:
      objective: What the best candidate is.
      metric: The task's main number, `accuracy` or `rmse`.
      examples: How many examples of the validation part decided.
      teacher: The teacher's score on them; None where it is not known.
      students: In the order of preference; one of them is `chosen`.
    """

    objective: Objective
    metric: str
    examples: int = Field(ge=0)
    teacher: float | None = None
    students: tuple[SearchedStudent, ...]

    @property
    def chosen(self) -> SearchedStudent:
        """The winner."""
        return next(each for each in self.students if each.state == "chosen")
