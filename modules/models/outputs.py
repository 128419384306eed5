"""What a model puts out: logits, of which softmax is taken where it is wanted."""

from __future__ import annotations

from typing import Any

from modules.errors import ConfigError, ModelError


def check_logits(model: Any, argument: str) -> None:
    """Refuse what is no model, and a model that ends in probabilities, as far as layers show it.

    Args:
      model: Any; only one with a graph of layers has a last layer.
      argument: What the message calls it.

    Raises:
      ConfigError: It is not a model.
      ModelError: Its last layer applies softmax or sigmoid.
    """
    import keras

    if not isinstance(model, keras.Model):
        raise ConfigError(
            f"{argument} must be a keras.Model, got {model!r}; load a file with "
            "keras.saving.load_model"
        )
    if getattr(model, "output_shape", None) is None or not model.layers:
        return
    last = model.layers[-1]
    if isinstance(last, keras.Model):
        check_logits(last, argument)
        return
    squashing = (keras.activations.softmax, keras.activations.sigmoid)
    if isinstance(last, keras.layers.Softmax) or getattr(last, "activation", None) in squashing:
        raise ModelError(
            f"{argument} must return logits, but the last layer of {model.name}, {last.name!r}, "
            "turns them into probabilities; build it without softmax, or set "
            "model.layers[-1].activation = keras.activations.linear"
        )
