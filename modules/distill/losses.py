"""Distillation losses: pure functions on `keras.ops`, student first, reduction left to the caller.

Losses on logits and on single features return one value per example, `[b]`; DIST and the
relational losses, which compare examples with each other, return a scalar.

- Shapes: `b` examples (may be unknown while tracing), `c` classes (static).
- Precision: half-precision and integer inputs are computed, and returned, in float32; float64
  stays float64. The teacher is cast to the student's precision.
- Gradients: none reaches the teacher. Values and gradients are finite for logits of ±1e4, and
  where a norm, a variance or a distance is zero; what is put in place of an undefined value is
  said with each loss. (The gradient of a half-precision input is rounded to half precision: it
  overflows if all that is compared lies within some 1e-5 of zero.)
- Temperatures and weights are numbers or scalar tensors (a schedule).
"""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from keras import backend, ops

Tensor = Any

# A vector varies when its spread exceeds what rounding in float32 makes of a constant one.
_RELATIVE_SPREAD = 1e-6
# Below this a vector has no direction: its inverse would endanger float32.
_SHORTEST = 1e-20
# Takes a class out of a softmax, yet stays finite when subtracted from itself.
_EXCLUDED = -1e30


# -- Losses on logits --


def temperature_softmax(logits: Tensor, temperature: float | Tensor) -> Tensor:
    r"""Softened probabilities, :math:`q_i = \exp(z_i/T) / \sum_j \exp(z_j/T)`.

    Args:
      logits: `[b, c]`.
      temperature: T > 0; above 1 the distribution is softer, at 1 it is the softmax.

    Returns:
      `[b, c]`, each row sums to one.

    Raises:
      ValueError: the temperature is a number that is not positive and finite.

    Source: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network" (1503.02531).
    """
    logits = _floating(logits)
    return ops.softmax(logits / _temperature(temperature, logits.dtype), axis=-1)


def soft_target_loss(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float | Tensor
) -> Tensor:
    r"""Soft targets, :math:`T^2 \cdot \mathrm{KL}(p^T_t \,\|\, p^T_s)`.

    The factor T² keeps the gradient on the scale of the hard loss whatever the temperature; as T
    grows it tends to :math:`(z_s - z_t)/c`, both centered. The divergence includes the teacher's
    entropy: it is zero where both agree.

    Args:
      student_logits: `[b, c]`.
      teacher_logits: `[b, c]`; treated as a constant.
      temperature: T > 0.

    Returns:
      `[b]`, in nats times T².

    Raises:
      ValueError: the shapes differ, or the temperature is not positive and finite.

    Source: Hinton et al. 2015 (1503.02531), section 2; T of 2 to 5 is customary.
    """
    student, teacher = _alike("logits", student_logits, teacher_logits)
    temperature = _temperature(temperature, student.dtype)
    return temperature**2 * _divergence(teacher / temperature, student / temperature)


def label_target_loss(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float | Tensor
) -> Tensor:
    r"""Soft targets of labels, :math:`T^2 \sum_i \mathrm{KL}(p^T_{t,i} \,\|\, p^T_{s,i})`.

    Each label is a choice between yes and no of its own, :math:`p^T = \sigma(z/T)`. For one label
    it is `soft_target_loss` of the logits (0, z).

    Args:
      student_logits: `[b, c]`, one for each label.
      teacher_logits: `[b, c]`; treated as a constant.
      temperature: T > 0.

    Returns:
      `[b]`, in nats times T²; a sum over the labels, not a mean.

    Raises:
      ValueError: the shapes differ, or the temperature is not positive and finite.

    Source: Hinton et al. 2015 (1503.02531), section 2, for each label; so Yang et al., ICCV 2023,
    "Multi-Label Knowledge Distillation" (2308.06453), equation 1, at T = 1.
    """
    student, teacher = _alike("logits", student_logits, teacher_logits)
    temperature = _temperature(temperature, student.dtype)
    student, teacher = student / temperature, teacher / temperature
    divergence: Any = 0.0
    for sign in (1.0, -1.0):
        log_taught, log_learned = ops.log_sigmoid(sign * teacher), ops.log_sigmoid(sign * student)
        divergence = divergence + ops.exp(log_taught) * (log_taught - log_learned)
    return temperature**2 * ops.sum(divergence, axis=-1)


def value_loss(
    student_values: Tensor, teacher_values: Tensor, scale: float | Tensor = 1.0
) -> Tensor:
    r"""Regression on the teacher's values, :math:`\tfrac12 \sum_i ((v_s - v_t)/\sigma)^2`.

    It is the divergence of normal distributions of one deviation around the two values, so that it
    stands beside the hard loss as `soft_target_loss` does.

    Args:
      student_values: `[b, c]`.
      teacher_values: `[b, c]`; treated as a constant.
      scale: above 0, the standard deviation of the labels; makes the loss free of their unit.

    Returns:
      `[b]`.

    Raises:
      ValueError: the shapes differ.
    """
    student, teacher = _alike("values", student_values, teacher_values)
    return logit_mse_loss(student / scale, teacher / scale)


def logit_mse_loss(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    r"""Regression on logits, :math:`\tfrac12 \sum_i (z_{s,i} - z_{t,i})^2`.

    For centered logits this is `c` times the limit of `soft_target_loss` as T grows.

    Args:
      student_logits: `[b, c]`.
      teacher_logits: `[b, c]`; treated as a constant.

    Returns:
      `[b]`, a sum over the classes, not a mean.

    Raises:
      ValueError: the shapes differ.

    Source: Ba & Caruana 2014, "Do Deep Nets Really Need to be Deep?" (1312.6184); the limit in
    Hinton et al. 2015 (1503.02531), section 2.1.
    """
    student, teacher = _alike("logits", student_logits, teacher_logits)
    return 0.5 * ops.sum(ops.square(student - teacher), axis=-1)


def standardize_logits(logits: Tensor) -> Tensor:
    r"""Logits of mean 0 and deviation 1, :math:`(z - \bar z) / (\sigma + 10^{-7})`, per example.

    The deviation is that of a sample (ddof 1). To be applied to student and teacher before
    `soft_target_loss`, which then compares the shape of the logits and leaves the student free
    in their range. A row of equal logits becomes zeros, through which the gradient of the centring
    passes undivided instead of times 10⁷.

    Args:
      logits: `[b, c]`; not detached, gradients flow.

    Returns:
      `[b, c]`.

    Source: Sun et al., CVPR 2024, "Logit Standardization in Knowledge Distillation" (2403.01427);
    T = 2, weight 9.
    """
    logits = _floating(logits)
    centered, rounding = _centered(logits, axis=-1)
    degrees = max(logits.shape[-1] - 1, 1)
    variance = ops.sum(ops.square(centered), axis=-1, keepdims=True) / degrees
    varies = variance > ops.square(rounding)
    deviation = ops.sqrt(ops.where(varies, variance, 1.0))
    return centered / ops.where(varies, deviation + 1e-7, 1.0)


def decoupled_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    temperature: float | Tensor,
    target_weight: float | Tensor,
    non_target_weight: float | Tensor,
) -> Tensor:
    r"""Decoupled distillation (DKD), :math:`T^2 (a \cdot \mathrm{TCKD} + b \cdot \mathrm{NCKD})`.

    With `y` the label, TCKD is the divergence of the two-way distributions :math:`(p_y, 1-p_y)`
    and NCKD that of the other classes, renormalized; both of the teacher from the student at
    temperature T. Per example :math:`\mathrm{KL} = \mathrm{TCKD} + (1-p_{t,y}) \mathrm{NCKD}`:
    the soft target silences NCKD just where the teacher is sure.

    Args:
      student_logits: `[b, c]`.
      teacher_logits: `[b, c]`; treated as a constant.
      labels: `[b]`, integer class ids in `[0, c)`.
      temperature: T > 0.
      target_weight: a, weight of TCKD.
      non_target_weight: b, weight of NCKD.

    Returns:
      `[b]`, in nats times T².

    Raises:
      ValueError: the shapes of the logits differ, the labels are not a vector, or the temperature
        is not positive and finite.

    Source: Zhao et al., CVPR 2022, "Decoupled Knowledge Distillation" (2203.08679); a = 1, b = 8,
    T = 4 and a linear warm-up over 20 epochs.
    """
    student, teacher = _alike("logits", student_logits, teacher_logits)
    temperature = _temperature(temperature, student.dtype)
    is_target = _one_hot(labels, student.shape[-1])
    student, teacher = student / temperature, teacher / temperature
    target = _divergence(_target_or_not(teacher, is_target), _target_or_not(student, is_target))
    non_target = _divergence(
        ops.where(is_target, _EXCLUDED, teacher), ops.where(is_target, _EXCLUDED, student)
    )
    a, b = _scalar(target_weight, student.dtype), _scalar(non_target_weight, student.dtype)
    return temperature**2 * (a * target + b * non_target)


def dist_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float | Tensor,
    inter_weight: float | Tensor,
    intra_weight: float | Tensor,
) -> Tensor:
    r"""DIST, :math:`T^2 (b (1 - \bar\rho_{rows}) + g (1 - \bar\rho_{columns}))`.

    The correlation is Pearson's, of :math:`p^T_s` and :math:`p^T_t`: over the classes of an example
    (rows, inter-class) and over the examples of a class (columns, intra-class), each averaged.
    It has no value where a row or column is constant: two constants count as agreeing (1), a
    constant and a varying one as uncorrelated (0). So a batch of one has no intra term.

    Args:
      student_logits: `[b, c]`.
      teacher_logits: `[b, c]`; treated as a constant.
      temperature: T > 0.
      inter_weight: b, weight of the rows.
      intra_weight: g, weight of the columns.

    Returns:
      A scalar in `[0, 2 T² (b + g)]`.

    Raises:
      ValueError: the shapes differ, or the temperature is not positive and finite.

    Source: Huang et al., NeurIPS 2022, "Knowledge Distillation from A Stronger Teacher"
    (2205.10536); b = g = 1.
    """
    student, teacher = _alike("logits", student_logits, teacher_logits)
    temperature = _temperature(temperature, student.dtype)
    student = ops.softmax(student / temperature, axis=-1)
    teacher = ops.softmax(teacher / temperature, axis=-1)
    inter = ops.mean(_one_minus_correlation(student, teacher, axis=1))
    intra = ops.mean(_one_minus_correlation(student, teacher, axis=0))
    b, g = _scalar(inter_weight, student.dtype), _scalar(intra_weight, student.dtype)
    return temperature**2 * (b * inter + g * intra)


# -- Losses on features --


def hint_loss(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    r"""Hints, the mean of :math:`(F_s - F_t)^2` over all axes but the first.

    Args:
      student_features: `[b, ...]`, any rank from 2, projected to the teacher's shape beforehand
        where the two differ.
      teacher_features: The same shape; treated as a constant.

    Returns:
      `[b]`.

    Raises:
      ValueError: the shapes differ.

    Source: Romero et al. 2015, "FitNets: Hints for Thin Deep Nets" (1412.6550); weight 100.
    """
    student, teacher = _alike("features", student_features, teacher_features)
    return ops.mean(ops.square(_flat(student) - _flat(teacher)), axis=-1)


def attention_transfer_loss(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    r"""Attention transfer, the mean of :math:`(Q_s - Q_t)^2` over the positions.

    :math:`Q = A / \|A\|_2`, where the attention map :math:`A = \mathrm{mean}_{channels} F^2` is
    flattened. Along each spatial axis the larger map is average-pooled to the size of the smaller,
    before it is normalized. Sizes need not divide each other: cell `i` of `n` is the mean of the
    positions from :math:`\lfloor i h/n \rfloor` up to :math:`\lceil (i+1) h/n \rceil`. An example
    whose features are all zero has Q = 0.

    Args:
      student_features: `[b, h, w, channels]`; height and width static.
      teacher_features: `[b, h', w', channels']`; treated as a constant.

    Returns:
      `[b]`.

    Raises:
      ValueError: features that are not of rank 4 with static height and width.

    Source: Zagoruyko & Komodakis 2017, "Paying More Attention to Attention" (1612.03928);
    weight 1000.
    """
    student, teacher = _pair(student_features, teacher_features)
    for name, features in (("student_features", student), ("teacher_features", teacher)):
        if len(features.shape) != 4 or None in features.shape[1:3]:
            raise ValueError(
                f"{name} must have the shape [batch, height, width, channels] with a static "
                f"height and width, got {tuple(features.shape)}; choose a convolutional layer"
            )
    sizes = [min(pair) for pair in zip(student.shape[1:3], teacher.shape[1:3], strict=True)]
    difference = _attention(student, sizes) - _attention(teacher, sizes)
    return ops.mean(ops.square(difference), axis=-1)


def similarity_preserving_loss(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    r"""Similarity preserving, :math:`\|G_s - G_t\|_F^2 / b^2`.

    :math:`G = F F^\top` of the features flattened per example, each row then divided by its L2
    norm. The row of an example whose features are all zero is zero.

    Args:
      student_features: `[b, ...]`, any rank from 2.
      teacher_features: `[b, ...]`, of its own shape; treated as a constant.

    Returns:
      A scalar.

    Source: Tung & Mori 2019, "Similarity-Preserving Knowledge Distillation" (1907.09682);
    weight 3000.
    """
    student, teacher = _pair(student_features, teacher_features)
    return ops.mean(ops.square(_similarities(student) - _similarities(teacher)))


def relational_distance_loss(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    r"""Relational distances (RKD-D), :math:`\mathrm{mean}_{ij}\, H(\psi^s_{ij} - \psi^t_{ij})`.

    :math:`\psi_{ij} = \|f_i - f_j\|_2 / \mu`, where μ is the mean over the positive distances of
    the batch (not over the diagonal); H is Huber's function with δ = 1, averaged over all b²
    entries. If all points coincide, ψ = 0.

    Args:
      student_features: `[b, ...]`, any rank from 2, flattened per example.
      teacher_features: `[b, ...]`, of its own shape; treated as a constant.

    Returns:
      A scalar.

    Source: Park et al., CVPR 2019, "Relational Knowledge Distillation" (1904.05068); weight 25.
    """
    student, teacher = _pair(student_features, teacher_features)
    difference = _relative_distances(student) - _relative_distances(teacher)
    return ops.cast(ops.mean(_huber(difference)), student.dtype)


def relational_angle_loss(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    r"""Relational angles (RKD-A), :math:`\mathrm{mean}_{ijk}\, H(\cos^s_{ijk} - \cos^t_{ijk})`.

    :math:`\cos_{ijk} = e_{ij} \cdot e_{ik}` with :math:`e_{ij} = (f_i - f_j) / \|f_i - f_j\|_2`
    is the cosine of the angle at example i; H is Huber's function with δ = 1, averaged over all b³
    ordered triples. A degenerate triple, i equal to j or k, has cosine 0.

    The cosines come from squared distances by the law of cosines, so no `[b, b, d]` differences
    are built: memory grows with b³ whatever the features. With its gradient a batch of 256 takes
    about 0.4 GB under XLA, 0.7 GB in a graph and 1.2 GB eagerly, and a fraction of a second on two
    cores; one of 128 an eighth of that.

    Args:
      student_features: `[b, ...]`, any rank from 2, flattened per example.
      teacher_features: `[b, ...]`, of its own shape; treated as a constant.

    Returns:
      A scalar.

    Source: Park et al., CVPR 2019, "Relational Knowledge Distillation" (1904.05068); weight 50.
    """
    student, teacher = _pair(student_features, teacher_features)
    return ops.mean(_huber(_cosines(student) - _cosines(teacher)))


# -- Arguments --


def _floating(values: Tensor) -> Tensor:
    """A tensor in float64 where the values are, else in float32."""
    values = ops.convert_to_tensor(values)
    is_double = backend.standardize_dtype(values.dtype) == "float64"
    return values if is_double else ops.cast(values, "float32")


def _pair(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the student's precision, the teacher as a constant."""
    student = _floating(student)
    return student, ops.cast(ops.stop_gradient(ops.convert_to_tensor(teacher)), student.dtype)


def _alike(what: str, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """`_pair`, of one shape: a broadcast would be a loss of something else."""
    student, teacher = _pair(student, teacher)
    sizes = list(zip(student.shape, teacher.shape, strict=False))
    differ = any(s != t for s, t in sizes if s is not None and t is not None)
    if differ or len(student.shape) != len(teacher.shape):
        raise ValueError(
            f"student_{what} and teacher_{what} must have the same shape, got "
            f"{tuple(student.shape)} and {tuple(teacher.shape)}; project one onto the other first"
        )
    return student, teacher


def _temperature(temperature: float | Tensor, dtype: Any) -> float | Tensor:
    """The temperature; checked if it is a number, cast if it is a tensor."""
    if isinstance(temperature, Real) and not 0 < float(temperature) < math.inf:
        raise ValueError(
            f"temperature must be a positive, finite number, got {temperature!r}; "
            "1 leaves the softmax as it is, 2 to 5 is customary"
        )
    return _scalar(temperature, dtype)


def _scalar(value: float | Tensor, dtype: Any) -> float | Tensor:
    return float(value) if isinstance(value, Real) else ops.cast(value, dtype)


def _one_hot(labels: Tensor, classes: int) -> Tensor:
    """`[b] -> [b, c]`, true at the label."""
    labels = ops.convert_to_tensor(labels)
    if len(labels.shape) != 1:
        raise ValueError(
            f"labels must have the shape [batch], got {tuple(labels.shape)}; "
            "pass class ids, not one-hot rows"
        )
    return ops.equal(ops.expand_dims(labels, 1), ops.arange(classes))


# -- Distributions --


def _divergence(teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    """KL of the teacher's softmax from the student's, `[b, c] -> [b]`."""
    log_teacher = ops.log_softmax(teacher_logits, axis=-1)
    log_student = ops.log_softmax(student_logits, axis=-1)
    return ops.sum(ops.exp(log_teacher) * (log_teacher - log_student), axis=-1)


def _target_or_not(logits: Tensor, is_target: Tensor) -> Tensor:
    """Logits of the two-way distribution (p_y, 1 - p_y), `[b, c] -> [b, 2]`."""
    target = ops.sum(ops.where(is_target, logits, 0.0), axis=-1)
    others = ops.logsumexp(ops.where(is_target, _EXCLUDED, logits), axis=-1)
    return ops.stack([target, others], axis=-1)


def _one_minus_correlation(student: Tensor, teacher: Tensor, axis: int) -> Tensor:
    """One minus Pearson's correlation: half the squared distance of unit vectors, 0 at equality.

    A constant vector stays what rounding left of it; the length tells it from a unit vector.
    """
    student, teacher = [_unit(*_centered(values, axis), axis) for values in (student, teacher)]
    gap = 0.5 * ops.sum(ops.square(student - teacher), axis=axis)
    student_varies, teacher_varies = [
        ops.sum(ops.square(values), axis=axis) > 0.5 for values in (student, teacher)
    ]
    return gap + 0.5 * ops.cast(ops.not_equal(student_varies, teacher_varies), gap.dtype)


def _centered(values: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Values less their mean, and the spread that rounding gives to a constant vector."""
    rounding = _RELATIVE_SPREAD * ops.max(ops.abs(values), axis=axis, keepdims=True)
    return values - ops.mean(values, axis=axis, keepdims=True), ops.stop_gradient(rounding)


def _unit(values: Tensor, floor: Tensor | float, axis: int) -> Tensor:
    """Values over their L2 norm; as they are where none exceeds the floor.

    Scaling by the largest first keeps the squares in range. It is a constant to the gradient,
    which is exact: the result does not depend on it.
    """
    peak = ops.stop_gradient(ops.max(ops.abs(values), axis=axis, keepdims=True))
    has_direction = ops.logical_and(peak > floor, peak > _SHORTEST)
    scaled = values / ops.where(has_direction, peak, 1.0)
    square = ops.sum(ops.square(scaled), axis=axis, keepdims=True)
    return scaled / ops.sqrt(ops.where(has_direction, square, 1.0))


# -- Features --


def _flat(features: Tensor) -> Tensor:
    """`[b, ...] -> [b, d]`."""
    return ops.reshape(features, (ops.shape(features)[0], -1))


def _attention(features: Tensor, sizes: list[int]) -> Tensor:
    """The normalized attention map, `[b, h, w, channels] -> [b, n * m]`."""
    energy = ops.mean(ops.square(features), axis=-1, keepdims=True)
    if list(features.shape[1:3]) != sizes:
        energy = ops.adaptive_average_pool(energy, tuple(sizes), data_format="channels_last")
    return _unit(_flat(energy), 0.0, axis=-1)


def _similarities(features: Tensor) -> Tensor:
    """`[b, ...] -> [b, b]`, each row of unit length."""
    features = _flat(features)
    return _unit(ops.matmul(features, ops.transpose(features)), 0.0, axis=-1)


# -- Relations between the examples of a batch --


def _huber(difference: Tensor) -> Tensor:
    """Huber's function with δ = 1, elementwise; its derivative is the clipped difference."""
    slope = ops.stop_gradient(ops.clip(difference, -1.0, 1.0))
    return slope * (difference - 0.5 * slope)


def _distances(features: Tensor) -> Tensor:
    """Euclidean distances `[b, b]` in float64, exactly zero and without gradient at one point.

    They come from the Gram matrix of the centered features, so `[b, b, d]` is never built. That
    subtracts nearly equal numbers where points are close, which costs half the digits (in the
    TF32 of recent GPUs nearly all); in float64 what remains is the precision of float32 inputs.
    Points nearer than 10⁻⁶ of their distance from the center of the batch count as coincident.
    """
    points = ops.cast(_flat(features), "float64")
    points = points - ops.mean(points, axis=0, keepdims=True)
    norms = ops.sum(ops.square(points), axis=-1)
    sums = ops.expand_dims(norms, 1) + ops.expand_dims(norms, 0)
    squared = sums - 2.0 * ops.matmul(points, ops.transpose(points))
    apart = squared > _RELATIVE_SPREAD**2 * sums
    # The root of zero has no gradient, so that not even the branch not taken may compute it.
    return ops.where(apart, ops.sqrt(ops.where(apart, squared, 1.0)), 0.0)


def _relative_distances(features: Tensor) -> Tensor:
    """Distances over the mean of the positive ones, `[b, b]` in float64."""
    distances = _distances(features)
    count = ops.sum(ops.cast(distances > 0, distances.dtype))
    return ops.divide_no_nan(distances, ops.divide_no_nan(ops.sum(distances), count))


def _cosines(features: Tensor) -> Tensor:
    """Cosines `[b, b, b]` of the angles at i between j and k, zero for degenerate triples.

    The numerator of the law of cosines cancels and is summed in float64; what is kept is of the
    precision of the features.
    """
    distances = _distances(features)
    squared, inverse = ops.square(distances), ops.divide_no_nan(1.0, distances)
    at_i = ops.expand_dims(squared, 2) + ops.expand_dims(squared, 1) - ops.expand_dims(squared, 0)
    at_i, inverse = ops.cast(0.5 * at_i, features.dtype), ops.cast(inverse, features.dtype)
    return at_i * ops.expand_dims(inverse, 2) * ops.expand_dims(inverse, 1)
