"""The arm `auto` of the study: what a run with `auto` in `distill` does."""

from __future__ import annotations

import keras

from bench.study_arms import Cell
from modules.distill.hyperparameters import apply_hyperparameters
from modules.search.student_search import StudentSearch
from modules.settings import DistillSettings, GateSettings, SearchPlan

AUTO = DistillSettings(auto=("alpha", "temperature", "methods"))


def auto(cell: Cell) -> keras.Model:
    """Search the objective on the validation part, then train with it.

    Args:
      cell: Its student.

    Returns:
      The trained student.
    """
    plan = SearchPlan(students=(cell.config.model,), limits=GateSettings(), variants=("float32",))
    search = StudentSearch(cell.task(AUTO, search=plan))
    search.search()
    (winner,) = search.get_best_hyperparameters()
    chosen = apply_hyperparameters(winner.values, cell.config.model_copy(update={"distill": AUTO}))
    return cell.task(chosen.distill).distill().model
