"""The objective of a configuration in words; Keras is not loaded."""

from __future__ import annotations

from modules.distill.methods import METHODS
from modules.settings import DistillSettings, MethodSettings, Task

# What these compare has no softmax to soften.
_NOT_SOFTENED = ("logit_mse", *(name for name, each in METHODS.items() if each.features))


def objective_in_words(settings: DistillSettings, task: Task | None = None) -> str:
    """Which way alpha goes, and what the teacher is asked for.

    Args:
      settings: With methods that `check_methods` has passed.
      task: None where it is not known yet.

    Returns:
      For example `labels weigh 0.1, the teacher 0.9, softened by T = 4`.
    """
    if settings.auto:
        first = objective_in_words(settings.model_copy(update={"auto": ()}), task)
        return f"{' and '.join(settings.auto)} chosen on validation data, beginning with: {first}"
    shares = f"labels weigh {settings.alpha:g}, the teacher {round(1 - settings.alpha, 12):g}"
    if settings.alpha == 1:
        return f"{shares}: nothing is learned from it"
    objective = _terms(settings, shares, task)
    if not settings.assistants:
        return objective
    named = " and then ".join(each.model for each in settings.assistants)
    return f"{objective}; the student learns from it through {named}"


def _terms(settings: DistillSettings, shares: str, task: Task | None) -> str:
    """The shares, and behind them the methods."""
    first, *more = settings.methods
    if first.name == "soft_target" and not more and _weight(first) == 1:
        softened = _softened(first, settings.temperature, task)
        return f"{shares}{softened and f', {softened}'}"
    terms = []
    for each in settings.methods:
        softened = _softened(each, settings.temperature, task)
        terms.append(f"{_weight(each):g} x {each.name}{softened and f' ({softened})'}")
    return f"{shares}: {' + '.join(terms)}"


def _weight(method: MethodSettings) -> float:
    return METHODS[method.name].weight if method.weight is None else method.weight


def _softened(method: MethodSettings, default: float, task: Task | None) -> str:
    if task == "regression" or method.name in _NOT_SOFTENED:
        return ""
    last = method.final_temperature
    return f"softened by T = {method.temperature or default:g}" + (f" to {last:g}" if last else "")
