"""Quantization-aware training: in the last epochs the student feels what int8 will round.

Weights and activations are rounded to 8 bits in the forward pass, and gradients pass through as if
they were not (straight-through estimator, Bengio et al. 2013, 1308.3432). What is rounded, and how,
is what the TFLite converter does (Jacob et al. 2018, 1712.05877): weights symmetrically, with one
scale per output channel; activations from the smallest to the largest value, zero among them. The
range of an activation is that of the batch, as the converter's is that of the calibration examples:
so no range has to be learned, saved or shared among workers. A BatchNormalization needs no folding:
a factor per output channel changes no rounding with one scale per output channel.

The weights themselves stay floats. They are converted as any others.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

# The last quarter of the epochs, where a cosine schedule has small steps left.
SHARE = 0.25
_LARGEST_WEIGHT, _STEPS = 127, 255


def first_aware_epoch(epochs: int) -> int:
    """The first epoch, counted from 0, of so many that is quantization-aware."""
    return epochs - math.ceil(SHARE * epochs)


def round_weights(weights: Any, channel_axes: tuple[int, ...]) -> Any:
    """Weights as int8 holds them, from -127 to 127 steps; gradients pass unchanged.

    Args:
      weights: Floats of any shape.
      channel_axes: The axes (negative) along which scales differ; none: one scale for all.
    """
    axes = [axis for axis in range(-len(weights.shape), 0) if axis not in channel_axes]
    largest = ops.max(ops.abs(weights), axis=axes, keepdims=True)
    scale = ops.maximum(largest, keras.config.epsilon()) / _LARGEST_WEIGHT
    return weights + ops.stop_gradient(ops.round(weights / scale) * scale - weights)


def round_activations(values: Any) -> Any:
    """Values as int8 holds them, in 255 steps over their range; gradients pass unchanged."""
    low, high = ops.minimum(ops.min(values), 0.0), ops.maximum(ops.max(values), 0.0)
    scale = ops.maximum(high - low, keras.config.epsilon()) / _STEPS
    # Zero is one of the steps, so that padding is exact.
    zero = ops.round(-low / scale)
    steps = ops.clip(ops.round(values / scale) + zero, 0, _STEPS) - zero
    return values + ops.stop_gradient(steps * scale - values)


class StudentInTraining:
    """A student, or the same layers with int8's rounding between them.

    A plain object, which Keras does not look into: nothing of it is saved or counted.

    Attributes:
      aware: Whether rounding is on.
    """

    def __init__(self, student: keras.Model):
        self._student = student
        self._rounded: keras.Model | None = None
        self.aware = False

    @property
    def model(self) -> keras.Model:
        """What runs in a step; its weights are the student's."""
        if not self.aware:
            return self._student
        if self._rounded is None:
            self._rounded = rounded(self._student)
        return self._rounded


class QuantizationAware(keras.callbacks.Callback):
    """Turns the rounding of a Distiller on, from some epoch until the end of the training.

    Args:
      first_epoch: Counted from 0.
    """

    def __init__(self, first_epoch: int):
        super().__init__()
        self._first_epoch = first_epoch

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """In a training that is taken up again behind that epoch too."""
        self.model.set_quantization_aware(epoch >= self._first_epoch)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """What is asked after the training answers in floats."""
        self.model.set_quantization_aware(False)


def rounded(model: keras.Model) -> keras.Model:
    """The same layers in another graph, in which int8's rounding is simulated.

    Rounded are the weights of all layers that have matrices, what goes into these layers, and what
    goes into operations of several inputs, such as a residual addition. Within a nested model or a
    layer of layers the weights are rounded, but not what goes from layer to layer. Numbers stay as
    they are up to the first layer that takes them, that layer included: so they do in the file.

    Args:
      model: A functional model.
    """
    # By id; the tensors live as long as the graph that is made of them.
    exact: set[int] = set()

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        tensors = [
            each for each in keras.tree.flatten((args, kwargs)) if keras.utils.is_keras_tensor(each)
        ]
        has_matrices = bool(_matrices(operation))
        if exact & {id(each) for each in tensors}:
            answer = operation(*args, **kwargs)
            if not has_matrices:
                exact.update(id(each) for each in keras.tree.flatten(answer))
            return answer
        if has_matrices or len(tensors) > 1:
            args, kwargs = keras.tree.map_structure(_rounded_tensor, (args, kwargs))
        return (_WithRoundedWeights(operation) if has_matrices else operation)(*args, **kwargs)

    # Not compiled: a loss of one's own cannot be cloned.
    plain = keras.Model(model.input, model.output, name=model.name)
    inputs = keras.tree.map_structure(
        lambda each: keras.Input(each.shape[1:], dtype=each.dtype, name=each.name), model.input
    )
    given = keras.tree.flatten(inputs)
    exact.update(id(each) for each in given if each.dtype == "float32")
    return keras.models.clone_model(
        plain, inputs, clone_function=lambda layer: layer, call_function=call
    )


def _rounded_tensor(tensor: Any) -> Any:
    """A tensor of floats after rounding; anything else as it is."""
    if not keras.utils.is_keras_tensor(tensor) or "float" not in tensor.dtype:
        return tensor
    return _RoundedActivations(dtype="float32")(tensor)


def _matrices(operation: Any) -> list[keras.Variable]:
    """The trained weights that int8 quantizes; biases, of one dimension, stay 32 bits wide."""
    return [each for each in getattr(operation, "trainable_variables", ()) if len(each.shape) > 1]


def _channel_axes(layer: keras.Layer, variable: keras.Variable) -> tuple[int, ...]:
    """Where the converter gives every channel its own scale."""
    if isinstance(layer, keras.layers.Embedding):
        return ()
    depthwise = isinstance(layer, keras.layers.DepthwiseConv1D | keras.layers.DepthwiseConv2D)
    return (-2, -1) if depthwise or variable.name == "depthwise_kernel" else (-1,)


class _RoundedActivations(keras.layers.Layer):
    """See `round_activations`; in float32, whatever the policy."""

    def call(self, values: Any) -> Any:
        return round_activations(values)


class _WithRoundedWeights(keras.layers.Layer):
    """Another layer, which reads its matrices rounded; their variables do not change."""

    def __init__(self, layer: keras.Layer):
        super().__init__(dtype=layer.dtype_policy)
        self.layer = layer
        self.built = True

    def call(self, *args: Any, **kwargs: Any) -> Any:
        # The values as they are stored, not cast to what a layer computes in.
        mapping = [
            (
                each,
                round_weights(ops.convert_to_tensor(each.value), _channel_axes(self.layer, each)),
            )
            for each in _matrices(self.layer)
        ]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            answer = self.layer(*args, **kwargs)
        # Batch statistics and random states move on.
        for variable in self.layer.non_trainable_variables:
            value = scope.get_current_value(variable)
            if value is not None:
                variable.assign(value)
        return answer
