"""The runtimes a model is shipped for, as a process that serves nothing else loads them.

For the child processes of `latency` and `fresh`: NumPy is imported with the module, the runtime
when it is asked for, and nothing of what trained the model at all.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

LITERT: Literal["litert"] = "litert"
SAVED_MODEL: Literal["saved_model"] = "saved_model"
Runtime = Literal["litert", "saved_model"]

_SIGNATURE, _INPUT, _OUTPUT = "serving_default", "examples", "logits"
# Some, so that no query finds its input where the last one left it.
_BATCHES = 8

Query = Callable[[Any], NDArray[Any]]


@dataclass(frozen=True)
class Subject:
    """A file to time or to probe.

    Attributes:
        role: `teacher`, `student`, or the name of a variant; unique on its runtime.
        runtime: what runs it.
        path: a TFLite file with one input and one output, or the directory of a SavedModel.
    """

    role: str
    runtime: Runtime
    path: str


@dataclass(frozen=True, eq=False)
class Examples:
    """The same examples, as each runtime takes them.

    Attributes:
        tensors: `[k, ...]`, k >= 1, as Transform emits them, for LiteRT.
        serialized: k `tf.train.Example`s, for the SavedModel; empty if it is not asked.

    Raises:
        ValueError: there is no example, or not the same number for both.
    """

    tensors: NDArray[Any]
    serialized: Sequence[bytes] = ()

    def __post_init__(self) -> None:
        if not len(self.tensors) or len(self.serialized) not in (0, len(self.tensors)):
            raise ValueError(
                "there must be an example, and as many serialized as tensors or none, got "
                f"{len(self.serialized)} and {len(self.tensors)}"
            )

    def pack(self) -> dict[str, NDArray[Any]]:
        """Arrays that `unpack` understands; texts as bytes and lengths, so nothing is pickled."""
        return {
            "tensors": self.tensors,
            "text": np.frombuffer(b"".join(self.serialized), np.uint8),
            "lengths": np.array([len(each) for each in self.serialized], np.int64),
        }

    @classmethod
    def unpack(cls, arrays: Any) -> Examples:
        """The examples that were packed."""
        text, ends = arrays["text"].tobytes(), np.cumsum(arrays["lengths"])
        starts = ends - arrays["lengths"]
        serialized = [text[start:end] for start, end in zip(starts, ends, strict=True)]
        return cls(arrays["tensors"], serialized)

    def of(self, runtime: Runtime) -> Any:
        """The examples of one runtime."""
        return self.tensors if runtime == LITERT else self.serialized


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model that answers batches of one size.

    Attributes:
        query: one batch in, its output out: all that an application pays for an answer.
        logits: the output as float32 logits; of an integer output by its scale.
        prepare: examples, as many as `batch_size`, to the batch that `query` takes.
        batch_size: number of examples in a batch.
    """

    query: Query
    logits: Callable[[NDArray[Any]], NDArray[np.float32]]
    prepare: Callable[[Any], Any]
    batch_size: int

    def batches(self, examples: Any) -> list[Any]:
        """Batches that go round and round the examples."""
        count = len(examples)
        number = min(_BATCHES, -(-count // self.batch_size)) if self.batch_size > 1 else count
        batches = []
        for start in range(0, number * self.batch_size, self.batch_size):
            chosen = [(start + offset) % count for offset in range(self.batch_size)]
            batches.append(self.prepare([examples[index] for index in chosen]))
        return batches


def import_runtime(runtime: Runtime, threads: int) -> None:
    """Imports a runtime; for TensorFlow the threads are fixed now, or never."""
    if runtime == LITERT:
        import ai_edge_litert.interpreter  # noqa: F401

        return
    # TensorFlow imports Keras for the models that Keras saved, and nearly doubles its start with
    # it. A server has no Keras, so a file that needed it could not be shipped.
    sys.modules.setdefault("keras", None)  # type: ignore[arg-type]
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def load(runtime: Runtime, path: str, threads: int, batch_size: int = 1) -> LoadedModel:
    """Loads a file after `import_runtime`.

    Args:
        runtime: of the two.
        path: a TFLite file, or the directory of a SavedModel.
        threads: for LiteRT; TensorFlow has been told already.
        batch_size: examples in a query.

    Raises:
        ValueError: the file cannot be loaded, does not take such batches, or has another
            signature; the runtimes raise it, and RuntimeError, OSError, MemoryError as well.
    """
    if runtime == LITERT:
        return _load_litert(path, threads, batch_size)
    return _load_saved_model(path, batch_size)


def _load_litert(path: str, threads: int, batch_size: int) -> LoadedModel:
    """LiteRT applies its XNNPACK delegate, as it does by default."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=threads)
    wanted = interpreter.get_input_details()
    if len(wanted) != 1 or len(interpreter.get_output_details()) != 1:
        raise ValueError("it must have one input and one output")
    shape, dtype = [batch_size, *wanted[0]["shape"][1:].tolist()], np.dtype(wanted[0]["dtype"])
    if batch_size != wanted[0]["shape"][0]:
        interpreter.resize_tensor_input(wanted[0]["index"], shape, strict=False)
    interpreter.allocate_tensors()
    output = interpreter.get_output_details()[0]
    if output["shape"][0] != batch_size:
        raise ValueError(f"it answers {output['shape'].tolist()} to a batch of {batch_size}")
    input_index, output_index = wanted[0]["index"], output["index"]

    scale, zero_point = output["quantization"]

    def query(batch: NDArray[Any]) -> NDArray[Any]:
        interpreter.set_tensor(input_index, batch)
        interpreter.invoke()
        return interpreter.get_tensor(output_index)

    def logits(answer: NDArray[Any]) -> NDArray[np.float32]:
        answer = answer.astype(np.float32)
        return (answer - zero_point) * np.float32(scale) if scale else answer

    def prepare(examples: Sequence[NDArray[Any]]) -> NDArray[Any]:
        batch = np.ascontiguousarray(examples)
        if batch.dtype != dtype or list(batch.shape) != shape:
            raise ValueError(
                f"it takes {dtype} {tuple(shape[1:])}, but an example is "
                f"{batch.dtype} {batch.shape[1:]}; pass what Transform emits"
            )
        return batch

    return LoadedModel(query, logits, prepare, batch_size)


def _load_saved_model(path: str, batch_size: int) -> LoadedModel:
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    if _SIGNATURE not in loaded.signatures:
        raise ValueError(f"it has no signature {_SIGNATURE}")
    signature = loaded.signatures[_SIGNATURE]

    def query(batch: Any) -> NDArray[Any]:
        assert loaded  # It owns the variables; without it the signature loses them.
        return signature(**{_INPUT: batch})[_OUTPUT].numpy()

    def logits(answer: NDArray[Any]) -> NDArray[np.float32]:
        return answer.astype(np.float32)

    return LoadedModel(query, logits, tf.constant, batch_size)
