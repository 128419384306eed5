"""All that relies on the inside of Keras, in one place: last read and tested with Keras 3.15.

Keras offers no public way to keep the logs of an epoch out of its steps, to skip the search for
unbuilt layers, or to see what an inner layer puts out during the one forward pass. A newer Keras
may still do what these hooks expect: it is warned about, and refused only where a hook is gone.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from modules.errors import ModelError

LAST_SEEN = (3, 15)
_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
_SAFE_CHANNELS = 16
_HOOKS = ("_get_metrics_result_or_logs", "_maybe_symbolic_build", "_flatten_layers")


def check_keras(version: str, model_class: type) -> None:
    """Hold Keras to what the hooks expect of it.

    Args:
      version: Of Keras.
      model_class: `keras.Model`.

    Raises:
      ModelError: A hook is gone.
    """
    known = ".".join(map(str, LAST_SEEN))
    gone = [name for name in _HOOKS if not hasattr(model_class, name)]
    if gone:
        raise ModelError(
            f"Keras {version} has no {', '.join(gone)}, which the training relies on; install "
            f"Keras {known}"
        )
    if tuple(int(part) for part in version.split(".")[:2]) > LAST_SEEN:
        warnings.warn(
            f"Keras {version} is newer than {known}, with which the training was tested; if it "
            f"fails or its logs look odd, install Keras {known}",
            stacklevel=2,
        )


check_keras(keras.version(), keras.Model)


class HookedModel(keras.Model):
    """A Keras model whose steps may keep their metrics to themselves.

    With `steps_per_epoch`, an epoch has exactly so many steps, also where a call runs several:
    Keras' last call of an epoch would run as many as the others, and take from the next epoch.
    """

    def __init__(self, *arguments: Any, **more: Any):
        super().__init__(*arguments, **more)
        self._epoch_steps = self._step = 0
        self._counts_steps = False
        self.train_function: Any = None

    def fit(self, *arguments: Any, **more: Any) -> keras.callbacks.History:
        """Keras' `fit`; see there."""
        self._epoch_steps, self._step = more.get("steps_per_epoch") or 0, 0
        counts_steps = self._epoch_steps > 0 and self.steps_per_execution > 1
        if counts_steps != self._counts_steps:
            self._counts_steps, self.train_function = counts_steps, None
        return super().fit(*arguments, **more)

    def make_train_function(self, force: bool = False) -> None:
        """What `fit` calls with an iterator, to run the next steps."""
        if not self._counts_steps or self.run_eagerly:
            super().make_train_function(force)
        elif self.train_function is None or force:
            self.train_function = self._counted_steps()

    def _counted_steps(self) -> Callable[[Any], dict[str, Any]]:
        @tf.autograph.experimental.do_not_convert
        def step(batch: Any) -> None:
            self.distribute_strategy.run(self.train_step, args=(batch,))

        compiled = tf.function(step, jit_compile=self.jit_compile, reduce_retracing=True)

        @tf.function(reduce_retracing=True)
        def steps(iterator: Any, count: Any) -> None:
            for _ in tf.range(count):
                compiled(iterator.get_next())

        def call(iterator: Any) -> dict[str, Any]:
            count = min(self.steps_per_execution, self._epoch_steps - self._step)
            self._step = (self._step + count) % self._epoch_steps
            steps(iterator, tf.constant(count))
            return {}

        return call

    def get_metrics_result(self) -> dict[str, Any]:
        """All metrics; those asked for in `compile` go before the model's own of the same name."""
        compiled = {} if self._compile_metrics is None else self._compile_metrics.result()
        return {**super().get_metrics_result(), **compiled}

    def update_compiled_metrics(
        self, y: Any, y_pred: Any, sample_weight: Any, counted: Any = None
    ) -> None:
        """Update the metrics that were asked for in `compile`.

        Args:
          y: Labels.
          y_pred: The outputs.
          sample_weight: For the `weighted_metrics`, `[b]` or None.
          counted: 1 for the examples that count at all, else 0, `[b]`; None counts all.
        """
        metrics = self._compile_metrics
        if metrics is None:
            return
        if counted is None:
            metrics.update_state(y, y_pred, sample_weight)
            return
        # Keras gives `metrics` no weights, and what has no label would count as wrong.
        if not metrics.built:
            metrics.build(y, y_pred)
        for parts, weights in (
            (metrics._flat_metrics, counted),
            (metrics._flat_weighted_metrics, sample_weight),
        ):
            for part in filter(None, parts):
                part.update_state(y, y_pred, weights)

    def _get_metrics_result_or_logs(self, logs: Any) -> dict[str, Any]:
        """The logs of an epoch: the metrics, whatever the last step returned."""
        return self.get_metrics_result()

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Builds what is unbuilt before the first step; with several workers Keras fails there."""
        metrics = self._compile_metrics
        layers = list(self._flatten_layers(include_self=False))
        if not all(layer.built for layer in layers) or (metrics is not None and not metrics.built):
            super()._maybe_symbolic_build(iterator=iterator, data_batch=data_batch)


@contextmanager
def recorded(layers: Sequence[keras.Layer]) -> Iterator[Mapping[int, Any]]:
    """What layers put out while this lasts, by `id(layer)`, at no cost of a second pass.

    It works in models of any kind, nested ones included, because it wraps the layers' own `call`.
    The wrapping is taken off again, so that nothing of it is saved or exported.
    """
    outputs: dict[int, Any] = {}

    def recording(layer: keras.Layer, call: Any) -> Any:
        def record(*args: Any, **kwargs: Any) -> Any:
            outputs[id(layer)] = call(*args, **kwargs)
            return outputs[id(layer)]

        return record

    with _replaced("call", {layer: recording(layer, layer.call) for layer in set(layers)}):
        yield outputs


@contextmanager
def safe_gradients(model: keras.Model) -> Iterator[None]:
    """Keep oneDNN, while this lasts, from an operation whose gradient destroys its memory.

    The gradient of a strided convolution with a kernel of one point and fewer input channels than a
    vector has places (16 with AVX-512, 8 with AVX2) writes behind its workspace, depending on size,
    batch and threads (seen with TensorFlow 2.21, oneDNN 3.7.3). With AVX2 it is wrong instead of
    ending the process. Taking every n-th point first and convolving those with stride 1 gives the
    same numbers.
    """
    with _replaced(
        "convolution_op",
        {
            layer: _subsampled(layer)
            for layer in model._flatten_layers()
            if isinstance(layer, _CONVOLUTIONS) and layer.built and _is_unsafe(layer)
        },
    ):
        yield


def _is_unsafe(layer: Any) -> bool:
    *points, channels, _ = layer.kernel.shape
    return set(points) == {1} and max(layer.strides) > 1 and channels < _SAFE_CHANNELS


def _subsampled(layer: Any) -> Callable[..., Any]:
    every = tuple(slice(None, None, stride) for stride in layer.strides)
    first = layer.data_format == "channels_first"
    taken = (slice(None), slice(None), *every) if first else (slice(None), *every)

    def convolve(inputs: Any, kernel: Any) -> Any:
        return keras.ops.conv(inputs[taken], kernel, 1, "valid", layer.data_format)

    return convolve


@contextmanager
def _replaced(method: str, replacements: Mapping[Any, Callable[..., Any]]) -> Iterator[None]:
    """Layers with another method while this lasts; nothing of it is saved or exported."""
    for layer, replacement in replacements.items():
        # Past Keras' own __setattr__, which would track what it is given.
        object.__setattr__(layer, method, replacement)
    try:
        yield
    finally:
        for layer in replacements:
            object.__delattr__(layer, method)
