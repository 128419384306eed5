"""The losses once more, in float64 and from their definitions: slow, plain, numerically naive.

Written from the definitions alone, with loops where these are clearer, and by other identities
than modules.distill.losses wherever there is a choice. Good for moderate numbers only: no log
space, no care for zero norms beyond what the definitions say.
"""

from __future__ import annotations

import math
import statistics
from itertools import product

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def temperature_softmax(logits: Array, temperature: float) -> Array:
    powers = np.array([[math.exp(z / temperature) for z in row] for row in logits])
    return np.array([row / row.sum() for row in powers])


def _kl(true: Array, approximate: Array) -> float:
    """Cross-entropy less entropy."""
    cross_entropy = -sum(p * math.log(q) for p, q in zip(true, approximate, strict=True))
    entropy = -sum(p * math.log(p) for p in true)
    return cross_entropy - entropy


def _huber(difference: float) -> float:
    size = abs(difference)
    return size**2 / 2 if size <= 1 else size - 1 / 2


def soft_target_loss(student: Array, teacher: Array, temperature: float) -> Array:
    p_s, p_t = (temperature_softmax(logits, temperature) for logits in (student, teacher))
    return np.array([temperature**2 * _kl(t, s) for s, t in zip(p_s, p_t, strict=True)])


def logit_mse_loss(student: Array, teacher: Array) -> Array:
    return np.array([np.linalg.norm(row) ** 2 / 2 for row in student - teacher])


def label_target_loss(student: Array, teacher: Array, temperature: float) -> Array:
    values = []
    for s, t in zip(student, teacher, strict=True):
        chances = [1 / (1 + np.exp(-z / temperature)) for z in (t, s)]
        pairs = (np.stack([p, 1 - p], axis=1) for p in chances)
        values.append(temperature**2 * sum(_kl(*each) for each in zip(*pairs, strict=True)))
    return np.array(values)


def value_loss(student: Array, teacher: Array, scale: float) -> Array:
    return np.array([sum(row**2) / (2 * scale**2) for row in student - teacher])


def standardize_logits(logits: Array) -> Array:
    return np.array(
        [
            [(z - statistics.fmean(row)) / (statistics.stdev(row) + 1e-7) for z in row]
            for row in logits.tolist()
        ]
    )


def decoupled_loss(
    student: Array,
    teacher: Array,
    labels: NDArray[np.int64],
    temperature: float,
    target_weight: float,
    non_target_weight: float,
) -> Array:
    p_s, p_t = (temperature_softmax(logits, temperature) for logits in (student, teacher))
    values = []
    for s, t, label in zip(p_s, p_t, labels, strict=True):
        two_way = [np.array([p[label], 1 - p[label]]) for p in (t, s)]
        others = [np.delete(p, label) / (1 - p[label]) for p in (t, s)]
        values.append(target_weight * _kl(*two_way) + non_target_weight * _kl(*others))
    return temperature**2 * np.array(values)


def dist_loss(
    student: Array, teacher: Array, temperature: float, inter_weight: float, intra_weight: float
) -> float:
    p_s, p_t = (temperature_softmax(logits, temperature) for logits in (student, teacher))
    inter = np.mean([np.corrcoef(s, t)[0, 1] for s, t in zip(p_s, p_t, strict=True)])
    intra = np.mean([np.corrcoef(s, t)[0, 1] for s, t in zip(p_s.T, p_t.T, strict=True)])
    return float(temperature**2 * (inter_weight * (1 - inter) + intra_weight * (1 - intra)))


def hint_loss(student: Array, teacher: Array) -> Array:
    pairs = zip(student, teacher, strict=True)
    return np.array([sum((s - t).ravel() ** 2) / s.size for s, t in pairs])


def _average_pool(energy: Array, height: int, width: int) -> Array:
    """Each cell is the mean of all positions that it touches."""
    rows, columns = energy.shape
    pooled = np.empty((height, width))
    for i, j in product(range(height), range(width)):
        touched = [
            energy[y, x]
            for y, x in product(range(rows), range(columns))
            if y + 1 > i * rows / height
            and y < (i + 1) * rows / height
            and x + 1 > j * columns / width
            and x < (j + 1) * columns / width
        ]
        pooled[i, j] = statistics.fmean(touched)
    return pooled


def attention_transfer_loss(student: Array, teacher: Array) -> Array:
    height, width = (min(student.shape[axis], teacher.shape[axis]) for axis in (1, 2))
    values = []
    for s, t in zip(student, teacher, strict=True):
        energies = [np.mean(features**2, axis=2) for features in (s, t)]
        maps = [_average_pool(energy, height, width).ravel() for energy in energies]
        q_s, q_t = (values / math.sqrt(sum(values**2)) for values in maps)
        values.append(np.mean((q_s - q_t) ** 2))
    return np.array(values)


def similarity_preserving_loss(student: Array, teacher: Array) -> float:
    count = len(student)
    grams = []
    for features in (student, teacher):
        rows = [example.ravel() for example in features]
        gram = np.array([[a @ b for b in rows] for a in rows])
        grams.append([row / np.linalg.norm(row) for row in gram])
    return float(np.linalg.norm(np.subtract(*grams), "fro") ** 2 / count**2)


def relational_distance_loss(student: Array, teacher: Array) -> float:
    count = len(student)
    relative = []
    for features in (student, teacher):
        distances = np.array([[np.linalg.norm(a - b) for b in features] for a in features])
        relative.append(distances / distances[distances > 0].mean())
    differences = np.subtract(*relative).ravel()
    return sum(_huber(difference) for difference in differences) / count**2


def _cosine(corner: Array, first: Array, second: Array) -> float:
    to_first, to_second = (first - corner).ravel(), (second - corner).ravel()
    lengths = np.linalg.norm(to_first) * np.linalg.norm(to_second)
    return float(to_first @ to_second / lengths) if lengths > 0 else 0.0


def relational_angle_loss(student: Array, teacher: Array) -> float:
    count = len(student)
    total = 0.0
    for i, j, k in product(range(count), repeat=3):
        cosines = (
            _cosine(features[i], features[j], features[k]) for features in (student, teacher)
        )
        total += _huber(np.subtract(*cosines))
    return total / count**3
