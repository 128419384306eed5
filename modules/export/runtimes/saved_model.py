"""SavedModels in TensorFlow, as a server runs them."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modules.export.runtimes.protocol import Form, LoadedModel

_SIGNATURE, _INPUT = "serving_default", "examples"
# The first of them that the signature has; `values` is a regression's.
_OUTPUTS = ("logits", "values")


class SavedModel:
    """Answers serialized examples by the signature `serving_default`."""

    takes: Form = "serialized"
    # TensorFlow sums in another order when a batch has another size.
    tolerance = 1e-4

    def prepare_process(self, threads: int) -> None:
        """Import TensorFlow; its threads are fixed now, or never."""
        # TensorFlow imports Keras for the models that Keras saved, and nearly doubles its start
        # with it. A server has no Keras, so a file that needed it could not be shipped.
        sys.modules.setdefault("keras", None)  # type: ignore[arg-type]
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)

    def load(self, path: str, threads: int, batch_size: int) -> LoadedModel:
        """Load a directory."""
        import tensorflow as tf

        loaded = tf.saved_model.load(path)
        if _SIGNATURE not in loaded.signatures:
            raise ValueError(f"it has no signature {_SIGNATURE}")
        signature = loaded.signatures[_SIGNATURE]
        output = next((key for key in _OUTPUTS if key in signature.structured_outputs), None)
        if output is None:
            raise ValueError(f"its signature {_SIGNATURE} must answer {' or '.join(_OUTPUTS)}")

        def query(batch: Any) -> NDArray[Any]:
            assert loaded  # It owns the variables; without it the signature loses them.
            return signature(**{_INPUT: batch})[output].numpy()

        def logits(values: NDArray[Any]) -> NDArray[np.float32]:
            return values.astype(np.float32)

        return LoadedModel(query, logits, tf.constant, batch_size, any_batch=True)
