"""How far a repeated measurement may fall from this one.

A process has its own luck: where its memory lies, which core it is given, who runs beside it.
What is measured in it again and again therefore scatters less than what another run will find.
So a run consists of several processes, and resampling draws processes first, then the rounds
within them. Nothing here but NumPy and the t distribution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
LEAST_PROCESSES = 3
# Every resample is compared with this many others.
_PARTNERS = 8

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Resampling:
    """Equal runs that might have been, each with as many processes and rounds as the real one.

    Attributes:
      counts: `[resamples, processes * rounds]`, how often a round of a process occurs.
      processes: number of processes.
    """

    counts: NDArray[np.int32]
    processes: int

    @classmethod
    def draw(cls, processes: int, rounds: int, seed: int) -> Resampling:
        """Processes with replacement, then for each as many of its rounds, with replacement.

        Raises:
          ValueError: fewer than three processes. Of two, all that is known of their scatter is
            one difference: the interval would be sixteen times as wide in the logarithm as that of
            many, and say nothing.
        """
        if processes < LEAST_PROCESSES:
            raise ValueError(f"an interval needs at least three processes, got {processes}")
        rng = np.random.default_rng(seed)
        drawn = rng.integers(processes, size=(RESAMPLES, processes))
        within = rng.multinomial(rounds, np.full(rounds, 1 / rounds), size=drawn.shape)
        counts = np.zeros((RESAMPLES, processes, rounds), np.int32)
        np.add.at(counts, (np.arange(RESAMPLES)[:, np.newaxis], drawn), within)
        return cls(counts.reshape(RESAMPLES, -1), processes)

    def percentiles(self, values: Floats, percents: list[int]) -> Floats:
        """Percentiles of every resample, by the rule of `percentile`.

        Args:
          values: `[processes, rounds, n]`.
          percents: integers in `[0, 100)`.

        Returns:
          `[len(percents), resamples]`.
        """
        per_round = values.shape[-1]
        order = np.argsort(values, axis=None)
        seen = np.cumsum(self.counts[:, order // per_round], axis=1, dtype=np.int32)
        total = values.size
        sorted_values = values.ravel()[order]
        ranks = [total * percent // 100 for percent in percents]
        return np.stack([sorted_values[(seen > rank).argmax(axis=1)] for rank in ranks])

    def means(self, values: Floats) -> Floats:
        """Mean of every resample, `[resamples]`, of `values` `[processes, rounds, n]`."""
        return self.counts @ values.mean(axis=-1).ravel() / self.counts[0].sum()


def percentile(values: Floats, percent: int) -> float:
    """The latency of one real query, not an interpolation between two.

    Of the `n` values in ascending order it is number `floor(n * percent / 100)`, counted from
    zero. This is the rule of MLPerf's LoadGen for its single-stream scenario (mlcommons/inference,
    loadgen/results.cc, ProcessLatencies). Where `n * percent / 100` is whole, it lies one rank
    above the textbook's nearest rank: the careful side for a latency.

    Args:
      values: at least one, of any shape.
      percent: an integer in `[0, 100)`, so that the rank is computed without rounding.
    """
    if not 0 <= percent < 100:
        raise ValueError(f"percent must be in [0, 100), got {percent}")
    rank = values.size * percent // 100
    return float(np.partition(values, rank, axis=None)[rank])


def interval(
    estimate: float, resampled: Floats, processes: int, confidence: float
) -> tuple[float, float]:
    """Where the estimate of an equal second run is expected, and this one from there.

    With a probability of at least `confidence`, two runs of the same measurement, each with
    processes of its own, lie in each other's interval. It is a prediction interval for a second
    run, more than sqrt(2) times as wide as a confidence interval, and says nothing about other
    machines.

    The estimates are positive and compared as ratios, so the interval is symmetric in their
    logarithm. Its half width is the quantile of the distance of two resampled runs, at
    `1 - (1 - confidence) / 2` so that both directions hold together (Bonferroni), times what a
    few processes hide: a bootstrap of `n` processes shows `(n - 1) / n` of their variance, and the
    variance itself is only estimated, hence Student's t with `n - 1` degrees of freedom in place of
    the normal distribution. Both corrections are those of Hesterberg's expanded percentile interval
    (2015, "What Teachers Should Know About the Bootstrap", The American Statistician 69).

    Args:
      estimate: of this run, positive.
      resampled: `[resamples]`, estimates of resampled runs, positive.
      processes: number of processes, at least three.
      confidence: level, in (0, 1).
    """
    # A quarter of a second to import, and the processes that do the timing import this file too.
    from scipy.special import ndtri, stdtrit

    logs = np.log(resampled)
    distances = np.abs([logs - np.roll(logs, shift) for shift in range(1, _PARTNERS + 1)])
    level = 1 - (1 - confidence) / 2
    upper = 1 - (1 - level) / 2
    correction = stdtrit(processes - 1, upper) / ndtri(upper)
    correction *= np.sqrt(processes / (processes - 1))
    width = float(np.exp(correction * np.quantile(distances, level)))
    return estimate / width, estimate * width
