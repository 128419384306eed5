"""The search for the student: limits first, then successive halving, then the choice."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner.engine.trial import Trial as KerasTunerTrial
from keras_tuner.engine.trial import TrialStatus
from tfx.components.tuner.component import TunerFnResult

from modules.distill.held_out import HeldOutAnswers
from modules.distill.hyperparameters import describe
from modules.distill.saved_states import mark_exported
from modules.distill.trainer_task import TrainerTask
from modules.distill.training import FEWEST_VALIDATION, can_choose
from modules.errors import ModelError
from modules.measure.registry import metrics_of
from modules.measure.statistic import Statistic
from modules.models import zoo
from modules.models.known import KnownModel
from modules.search import halving, untrained
from modules.search.candidates import Candidate, differ_in_width, objectives
from modules.search.halving import Trial
from modules.search.journal import Journal
from modules.search.results import SearchedStudent, SearchResults, State
from modules.search.untrained import Untrained
from modules.settings import DistillSettings, GateSettings, ModelSettings

_LOG = logging.getLogger("tfx_distill.search")
_CONFIDENCE = 0.95  # of intervals that nobody looks at
_TOO_FEW = f"fewer than {FEWEST_VALIDATION} validation examples"


def tuner_fn(fn_args: Any) -> TunerFnResult:
    """Called by TFX's Tuner with `FnArgs`, whose `custom_config` is a student's, with `search`."""
    return TunerFnResult(tuner=StudentSearch(TrainerTask(fn_args)), fit_kwargs={})


class StudentSearch:
    """What TFX's Tuner takes for a KerasTuner tuner.

    Args:
      task: The student's training, with a search plan.
    """

    tuner_id = "search"

    def __init__(self, task: TrainerTask):
        config = task.config
        assert config.search is not None and config.distill is not None
        self._task, self._plan, self._seed = task, config.search, config.seed
        self._journal = Journal(task.state_dir)
        self._metrics = metrics_of(task.spec.output.task, _CONFIDENCE, 0)
        first, *others = objectives(config.distill, config.augment, task.spec.output.task)
        self._candidates = [Candidate(each, first) for each in self._plan.students]
        # Those of the student that wins with the first one.
        self._objectives = [first, *others]
        self._teacher = _untrained_teacher(config.baseline) if config.baseline else None
        self._can_choose = can_choose(task.held_out())
        self._untrained: list[Untrained] = []
        self._failed: dict[int, str] = {}
        self._trials: dict[int, Trial] = {}
        self._teacher_score: float | None = None
        self._winner: int | None = None
        self._begun = 0.0

    def search(self) -> None:
        """Search; what was done by a search that was killed is not done again.

        Raises:
          ModelError: All students break a limit, or none could be trained.
          UserError: What hinders every training, for example damaged data.
        """
        self._begun = time.monotonic()
        self._examine()
        numbers = [at for at in range(len(self._candidates)) if not self._of(at).broken]
        if not numbers:
            reasons = dict.fromkeys(each.broken for each in self._untrained)
            raise ModelError(
                f"search.students: all {len(self._untrained)} break a limit "
                f"({'; '.join(reasons)}); loosen it or add smaller students"
            )
        teacher = self._task.teacher_answers()
        self._teacher_score = None if teacher is None else self._number(teacher).value
        trials = self._plan.budget.trials
        self._winner = self._best_student(numbers[:trials])
        if len(self._objectives) > 1 and self._can_choose:
            # However many the students are, the second objective is tried: the labels alone.
            left = max(trials - len(numbers), 1)
            self._winner = self._best_objective(self._winner, self._objectives[1 : 1 + left])
        elif len(self._objectives) > 1:
            self._leave_objectives(self._winner)
        winner = self._candidates[self._winner]
        _LOG.info("chosen: %s", describe(winner.values))
        if winner.labels_alone:
            _LOG.info("the labels alone were best on the validation part; that student is shipped")

    def _best_student(self, numbers: list[int]) -> int:
        """The student that fits the objective of the search; the only one untried."""
        if len(numbers) == 1:
            return numbers[0]
        costs = self._costs(numbers)
        lower = self._metrics.main == "rmse"
        limit = _limit(self._plan.limits, self._teacher_score, lower)
        keeps: Callable[[Trial], bool] | None = None
        if limit is not None and self._plan.objective != "most_accurate":

            def keeps(trial: Trial) -> bool:
                # Less its standard error, since the gate holds an interval to the limit.
                if lower:
                    return trial.score + trial.error <= limit
                return trial.score - trial.error >= limit

        students = [self._candidates[at].student for at in numbers]
        if keeps is not None and differ_in_width(students):
            # Nothing has to be trained to know which of them are the better ones.
            by_cost = sorted(numbers, key=costs.__getitem__)
            epochs = halving.rungs(1, students[0].train.epochs)[-1].epochs
            found = halving.bisect(by_cost, epochs, self._train, keeps)
            self._trials |= found
        else:
            found = self._climb(numbers, costs, [], keeps)
        self._require(found)
        return halving.choose(found, lambda at: (costs.get(at, 0.0), self._of(at).size, at), keeps)

    def _best_objective(self, student: int, others: list[DistillSettings]) -> int:
        """The objective that teaches a student best; of those as good as the best the first.

        The labels alone have to be clearly better than a teacher, or, where they are as good, than
        what the teacher itself answers. The student stays as it is where the time is up.
        """
        chosen = self._candidates[student].student
        numbers = [student]
        for objective in others:
            numbers.append(len(self._candidates))
            self._candidates.append(Candidate(chosen, objective))
        alone = [at for at in numbers if self._candidates[at].labels_alone]
        found = self._climb(numbers, {}, alone)
        if not found and self._trials:
            return student
        self._require(found)
        lower = self._metrics.main == "rmse"
        scores = [found[at].score for at in alone if at in found]
        beaten = any(_is_beaten(self._teacher_score, score, lower) for score in scores)
        return halving.choose(found, lambda at: ((at in alone) != beaten, at))

    def _leave_objectives(self, student: int) -> None:
        """A few examples would choose by chance, and seldom the teacher where it is needed most."""
        chosen = self._candidates[student].student
        self._candidates += [Candidate(chosen, each) for each in self._objectives[1:]]
        _LOG.info("%s: the default objective is kept", _TOO_FEW)

    def _climb(
        self,
        numbers: list[int],
        costs: dict[int, float],
        always: list[int],
        keeps: Callable[[Trial], bool] | None = None,
    ) -> dict[int, Trial]:
        epochs = max(self._candidates[at].student.train.epochs for at in numbers)
        plan = halving.rungs(len(numbers), epochs)
        found = halving.climb(numbers, plan, self._train, costs, always, keeps)
        self._trials |= found
        return found

    def _require(self, found: dict[int, Trial]) -> None:
        if not found:
            reasons = dict.fromkeys(self._failed.values())
            raise ModelError(
                f"search: no candidate could be trained "
                f"({'; '.join(reasons) or 'the time was up'}); "
                "change search.students or raise search.budget.minutes"
            )

    def finish(self) -> None:
        """Note that the results are written; the notes may go once they are published."""
        mark_exported(self._task.state_dir)

    def get_best_hyperparameters(self, count: int = 1) -> list[keras_tuner.HyperParameters]:
        """The winner's, as `modules.distill.hyperparameters` takes them."""
        assert self._winner is not None
        return [self._hyperparameters(self._winner)]

    def _hyperparameters(self, number: int) -> keras_tuner.HyperParameters:
        found = keras_tuner.HyperParameters()
        for name, value in self._candidates[number].values.items():
            found.Fixed(name, value)
        return found

    def search_space_summary(self) -> None:
        """For TFX: what is going to be tried."""
        _LOG.info("%d student(s), %d objective(s)", len(self._candidates), len(self._objectives))

    def results_summary(self) -> None:
        """For TFX, when the search has ended; it has told all by then."""

    @property
    def oracle(self) -> StudentSearch:
        """What TFX asks for the trials."""
        return self

    @property
    def max_trials(self) -> int:
        """For TFX."""
        return len(self._candidates)

    def get_best_trials(self, count: int) -> list[KerasTunerTrial]:
        """The trained candidates, the lowest loss first, as KerasTuner describes them."""
        found = []
        for number, trial in sorted(self._trials.items(), key=lambda item: item[1].loss):
            described = KerasTunerTrial(
                self._hyperparameters(number), str(number), TrialStatus.COMPLETED
            )
            described.score = trial.loss
            found.append(described)
        return found[:count]

    def results(self) -> SearchResults:
        """All candidates, and what became of them."""
        return SearchResults(
            objective=self._plan.objective,
            metric=self._metrics.main,
            examples=max((len(each.losses) for each in self._trials.values()), default=0),
            teacher=self._teacher_score,
            students=tuple(self._described(at) for at in range(len(self._candidates))),
        )

    def _of(self, number: int) -> Untrained:
        return self._untrained[self._plan.students.index(self._candidates[number].student)]

    def _examine(self) -> None:
        """Sizes and latencies; where there is but one student, there is nothing to compare."""
        if len(self._plan.students) == 1:
            spec = self._task.spec
            model = zoo.build_model(self._plan.students[0], spec.by_name, spec.output)
            self._untrained = [Untrained(model.count_params(), {}, {}, {})]
            return
        found = self._journal.untrained()
        if found is None or len(found) != len(self._plan.students):
            found = untrained.examine(self._plan, self._task.spec, self._teacher, self._seed)
            self._journal.keep_untrained(found)
        self._untrained = found
        untrained.log(found)

    def _costs(self, numbers: list[int]) -> dict[int, float]:
        """By candidate, what the objective of the search wants to be small."""
        if self._plan.objective == "smallest":
            return {at: self._of(at).size for at in numbers}
        if self._plan.objective == "fastest":
            return {at: self._of(at).latency for at in numbers}
        return {}

    def _train(self, number: int, epochs: int) -> Trial | None:
        """One trial, if there is time for it; see `halving.climb`."""
        candidate = self._candidates[number]
        key = json.dumps(candidate.values)
        done = self._journal.trial(key, epochs)
        minutes = self._plan.budget.minutes
        if done is None and minutes and time.monotonic() - self._begun > 60 * minutes:
            _LOG.info("search.budget.minutes: %g are over, no further training is begun", minutes)
            return None
        line = f"candidate {number + 1}  {describe(candidate.values)}"
        if done is None:
            done = self._tried(candidate, epochs)
            self._journal.keep_trial(key, epochs, done)
        if isinstance(done, str):
            _LOG.info("%s  failed: %s", line, done)
            self._failed[number] = done
            raise ModelError(done)
        _LOG.info(
            "%s  %d epochs  loss %.4f  %s %.4f",
            *(line, epochs, done.loss, self._metrics.main, done.score),
        )
        return done

    def _tried_with(self, candidate: Candidate) -> list[DistillSettings]:
        """The objectives that come with this student."""
        return [each.distill for each in self._candidates if each.student == candidate.student]

    def _tried(self, candidate: Candidate, epochs: int) -> Trial | str:
        try:
            answers = self._task.try_student(
                candidate.student, candidate.distill, epochs, self._tried_with(candidate)
            )
        except ModelError as error:
            return str(error)
        losses = np.asarray(answers.losses, np.float64)
        if answers.weights is not None:
            losses = losses * answers.weights / np.mean(answers.weights)
        number = self._number(answers)
        deviation = float(np.sqrt(np.sum(number.influence**2)) / len(number.influence))
        return Trial(epochs, losses, number.value, deviation)

    def _number(self, answers: HeldOutAnswers) -> Statistic:
        """The task's main number."""
        spec, weights = self._task.spec, answers.weights
        if spec.class_weights and weights is not None:
            # They are for the training; the gate's numbers are without them.
            own = weights / np.asarray(spec.class_weights)[answers.labels]
            weights = own if spec.weighted else None
        found = self._metrics.answers.from_outputs(answers.labels, answers.outputs, weights)
        return self._metrics.statistics(found)[self._metrics.main]

    def _described(self, number: int) -> SearchedStudent:
        candidate, known = self._candidates[number], self._of(number)
        trial, failed = self._trials.get(number), self._failed.get(number, "")
        longest = max((each.epochs for each in self._trials.values()), default=0)
        # Of an objective; students are searched on however few examples.
        is_left = number >= len(self._plan.students) and not self._can_choose
        state: State = "untried"
        if known.broken:
            state = "refused"
        elif number == self._winner:
            state = "chosen"
        elif failed:
            state = "failed"
        elif trial:
            state = "compared" if trial.epochs == longest else "stopped"
        return SearchedStudent(
            name=describe(candidate.values),
            state=state,
            reason=known.broken or failed or (_TOO_FEW if is_left else ""),
            labels_alone=candidate.labels_alone,
            parameters=known.parameters,
            sizes=dict(known.sizes),
            latencies={name: each["p50_ms"] for name, each in known.latencies.items()},
            epochs=trial.epochs if trial else 0,
            loss=trial.loss if trial else None,
            score=trial.score if trial else None,
        )


def _untrained_teacher(known: KnownModel) -> ModelSettings | None:
    """The teacher's architecture; None of a file, from which no untrained model can be built."""
    if not known.model:
        return None
    return ModelSettings(model=known.model, parameters=known.parameters)


def _is_beaten(teacher: float | None, score: float, lower_is_better: bool) -> bool:
    """Whether a student's accuracy or RMSE is better than its teacher's, if that is known."""
    if teacher is None:
        return False
    return score < teacher if lower_is_better else score > teacher


def _limit(gate: GateSettings, teacher: float | None, lower_is_better: bool) -> float | None:
    """What the gate asks of a student's accuracy or RMSE, given the teacher's; None: nothing."""
    if lower_is_better:
        found = [] if gate.max_rmse is None else [gate.max_rmse]
        if gate.max_rmse_increase is not None and teacher is not None:
            found.append(teacher * (1 + gate.max_rmse_increase))
        return min(found, default=None)
    found = [] if gate.min_accuracy is None else [gate.min_accuracy]
    if gate.max_accuracy_drop is not None and teacher is not None:
        found.append(teacher - gate.max_accuracy_drop)
    return max(found, default=None)
