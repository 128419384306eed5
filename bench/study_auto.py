"""The arm `auto`: what the project does by itself with a cell.

PLACEHOLDER: one training with the default objective. The search over methods, alpha and temperature
on cached knowledge takes its place here, and nowhere else in the study; whatever it does counts
towards the seconds that `keras.distillation` is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras

from modules.settings import DistillSettings

if TYPE_CHECKING:
    from bench.study_arms import Cell


def auto(cell: Cell) -> keras.Model:
    """A trained student; choices are made on the validation part alone.

    Args:
      cell: `cell.task(distill=…)` is a TrainerTask on the cell's cached knowledge, with everything
        that a search needs (`try_student`, `distill`).
    """
    return cell.task(distill=DistillSettings()).distill().model
