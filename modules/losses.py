"""Distillation losses: pure functions on `keras.ops`, student first, one value per example.

Shapes: `b` examples, `c` classes. Reduction is the caller's. No gradient reaches the teacher.
"""

from __future__ import annotations

from typing import Any

from keras import ops

Tensor = Any


def temperature_softmax(logits: Tensor, temperature: float) -> Tensor:
    r"""Softened probabilities, :math:`q_i = \exp(z_i/T) / \sum_j \exp(z_j/T)`.

    Args:
      logits: `[b, c]`.
      temperature: T > 0; above 1 the distribution is softer, at 1 it is the softmax.

    Returns:
      `[b, c]`, each row sums to one.

    Source: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network" (1503.02531).
    """
    return ops.softmax(ops.divide(logits, temperature), axis=-1)


def soft_target_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    r"""Soft targets, :math:`T^2 \cdot \mathrm{KL}(p^T_t \,\|\, p^T_s)`.

    The factor T² keeps the gradient on the scale of the hard loss whatever the temperature.
    The divergence includes the teacher's entropy: it is zero where both agree.

    Args:
      student_logits: `[b, c]`.
      teacher_logits: `[b, c]`; treated as a constant.
      temperature: T > 0.

    Returns:
      `[b]`, in nats times T².

    Source: Hinton et al. 2015 (1503.02531), section 2; T of 2 to 5 is customary.
    """
    teacher_logits = ops.stop_gradient(teacher_logits)
    log_student = ops.log_softmax(ops.divide(student_logits, temperature), axis=-1)
    log_teacher = ops.log_softmax(ops.divide(teacher_logits, temperature), axis=-1)
    divergence = ops.sum(ops.exp(log_teacher) * (log_teacher - log_student), axis=-1)
    return temperature**2 * divergence
