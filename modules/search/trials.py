"""The search for the student's hyperparameters, with KerasTuner."""

from __future__ import annotations

import logging
from typing import Any

import keras_tuner
from keras_tuner.engine.trial import Trial, TrialStatus
from keras_tuner.errors import FailedTrialError, FatalError
from keras_tuner.oracles import BayesianOptimizationOracle
from tfx.components.tuner.component import TunerFnResult

from modules.distill.hyperparameters import PARAMETERS, describe
from modules.distill.trainer_task import TrainerTask
from modules.errors import ModelError
from modules.search.space import LOGARITHMIC, encode_choice
from modules.settings import TuneSettings

_LOG = logging.getLogger("tfx_distill.tuner")
OBJECTIVE = "val_hard_loss"
# NumPy's generators, which the oracle uses, take 32 bits.
_LARGEST_SEED = 2**32 - 2


def tuner_fn(fn_args: Any) -> TunerFnResult:
    """Called by TFX's Tuner with `FnArgs`, whose `custom_config` is a student's, with `tune`."""
    task = TrainerTask(fn_args)
    settings = task.config.tune
    assert settings is not None
    oracle = make_oracle(settings, task.config.seed)
    return TunerFnResult(
        tuner=StudentTuner(task, settings, oracle, fn_args.working_dir), fit_kwargs={}
    )


class StudentOracle(BayesianOptimizationOracle):
    """Bayesian optimization that tries nothing twice.

    KerasTuner's own proposes the same point again where it is the best guess, but a training with
    the same seed would bring the same result.
    """

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """The next trial's values; another point at random, if there is one, for a known one."""
        proposed = super().populate_space(trial_id)
        if proposed["values"] is not None and self._duplicate(proposed["values"]):
            return self._random_populate_space()
        return proposed


def make_oracle(settings: TuneSettings, seed: int) -> StudentOracle:
    """What proposes the trials; the same seed and results, the same proposals."""
    space = keras_tuner.HyperParameters()
    for name, (low, high) in settings.intervals.items():
        space.Float(name, low, high, sampling="log" if name.startswith(LOGARITHMIC) else "linear")
    for name, choices in settings.parameters.items():
        space.Choice(f"{PARAMETERS}{name}", [encode_choice(choice) for choice in choices])
    oracle = StudentOracle(
        objective=keras_tuner.Objective(OBJECTIVE, "min"),
        max_trials=settings.trials,
        hyperparameters=space,
        # KerasTuner takes 0 for no seed at all.
        seed=min(seed, _LARGEST_SEED) + 1,
        # Whether none succeeds is judged at the end.
        max_consecutive_failed_trials=settings.trials + 1,
    )
    oracle.verbose = 0
    return oracle


class StudentTuner(keras_tuner.Tuner):
    """Trains a student for every trial, with the Distiller's own loop.

    What is compared is the cross-entropy with the labels of the validation part: unlike the
    objective that is trained, it means the same whatever alpha, temperature and weights are.

    Args:
      task: The student's training.
      settings: What is searched.
      oracle: Proposes the trials.
      directory: Where KerasTuner keeps its notes.
    """

    def __init__(
        self, task: TrainerTask, settings: TuneSettings, oracle: StudentOracle, directory: str
    ):
        super().__init__(oracle, directory=directory, project_name="trials")
        self._task = task
        self._settings = settings

    def search(self, *arguments: Any, **keywords: Any) -> None:
        """Run all trials.

        Raises:
          ModelError: No trial succeeded.
          UserError: What hinders every trial, for example damaged data.
        """
        try:
            super().search(*arguments, **keywords)
        except FatalError as error:
            raise error.__cause__ or error from None

    def run_trial(self, trial: Trial) -> dict[str, float]:
        """Train one student; its objective.

        Raises:
          FailedTrialError: With these values the student cannot be trained; the search goes on.
          FatalError: Anything else; KerasTuner would swallow it.
        """
        values = trial.hyperparameters.values
        number = f"trial {int(trial.trial_id) + 1}/{self._settings.trials}  {describe(values)}"
        try:
            loss = self._task.try_student(values, self._settings.epochs)
        except ModelError as error:
            _LOG.info("%s  failed: %s", number, error)
            raise FailedTrialError(str(error)) from error
        except Exception as error:
            raise FatalError(str(error)) from error
        _LOG.info("%s  %s %.4f", number, OBJECTIVE, loss)
        return {OBJECTIVE: loss}

    def on_search_end(self) -> None:
        """Tell the winner.

        Raises:
          ModelError: No trial succeeded.
        """
        best = self.oracle.get_best_trials(1)[0]
        if best.status != TrialStatus.COMPLETED:
            raise ModelError(
                "tune: no trial could be trained (the reasons are above); narrow what is searched"
            )
        _LOG.info("best trial: %d (%s %.4f)", int(best.trial_id) + 1, OBJECTIVE, best.score)
