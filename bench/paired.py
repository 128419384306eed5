"""Differences between pairs, such as two trainings of the same seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

LEVEL = 0.05


def paired(values: Sequence[float], others: Sequence[float]) -> dict[str, float]:
    """Mean difference, its 95 % interval and p, by Student's t for pairs."""
    differences = np.subtract(values, others)
    mean = float(differences.mean())
    if np.ptp(differences) == 0:
        # No spread and so no t: equal in every seed, or different by the same in every seed.
        return {"difference": mean, "ci_low": mean, "ci_high": mean, "p": float(mean == 0)}
    test = stats.ttest_rel(values, others)
    interval = test.confidence_interval(1 - LEVEL)
    return {
        "difference": mean,
        "ci_low": float(interval.low),
        "ci_high": float(interval.high),
        "p": float(test.pvalue),
    }
