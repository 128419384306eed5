"""What a runtime is, and what goes in and out of a model that it has loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

# Some, so that no query finds its input where the last one left it.
_BATCHES = 8

Query = Callable[[Any], NDArray[Any]]
# Inputs of the models by name, each `[k, ...]`, as Transform emits them.
Tensors = Mapping[str, NDArray[Any]]
# Examples as Transform emits them, or serialized ones as a server is sent them.
Form = Literal["tensors", "serialized"]


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model that answers batches of one size.

    Attributes:
      query: One batch in, its output out: all that an application pays for an answer.
      logits: The output as float32 logits (regression: values); of an integer output by its scale.
      prepare: Examples, as many as `batch_size`, to the batch that `query` takes.
      batch_size: Number of examples in a batch.
      any_batch: Whether batches of other sizes are answered too.
    """

    query: Query
    logits: Callable[[NDArray[Any]], NDArray[np.float32]]
    prepare: Callable[[Any], Any]
    batch_size: int = 1
    any_batch: bool = False

    def answer(self, examples: Any) -> NDArray[np.float32]:
        """Logits `[n, outputs]` of n >= 1 examples; n is a multiple of a fixed batch size."""
        count = count_examples(examples)
        size = count if self.any_batch else self.batch_size
        outputs = [
            self.query(self.prepare(select(examples, range(begin, min(begin + size, count)))))
            for begin in range(0, count, size)
        ]
        return self.logits(np.concatenate(outputs))

    def batches(self, examples: Any) -> list[Any]:
        """Batches of `batch_size` that go round and round the examples."""
        count = count_examples(examples)
        number = min(_BATCHES, -(-count // self.batch_size)) if self.batch_size > 1 else count
        return [
            self.prepare(
                select(examples, [(start + offset) % count for offset in range(self.batch_size)])
            )
            for start in range(0, number * self.batch_size, self.batch_size)
        ]


def count_examples(examples: Any) -> int:
    """Number of examples, whichever form they have."""
    if isinstance(examples, Mapping):
        return len(next(iter(examples.values()), ()))
    return len(examples)


def select(examples: Any, indices: Sequence[int]) -> Any:
    """Some of the examples, in the form that they have."""
    if isinstance(examples, Mapping):
        return {name: values[list(indices)] for name, values in examples.items()}
    return [examples[index] for index in indices]


class Runtime(Protocol):
    """Loads files of one format. Its package is imported by the methods, not with the module.

    Attributes:
      takes: The form of the examples.
      tolerance: Largest difference between the logits of two processes, in units of the largest
        logit.
    """

    takes: Form
    tolerance: float

    def prepare_process(self, threads: int) -> None:
        """Import the runtime into a process that runs nothing else, with so many threads."""

    def load(self, path: str, threads: int, batch_size: int) -> LoadedModel:
        """Load a file; see `modules.export.runtimes.load`."""


@dataclass(frozen=True)
class ModelFile:
    """A file to time or to ask.

    Attributes:
      role: `teacher`, `student`, or the name of a variant; unique on its runtime.
      runtime: Name of what runs it.
      path: Of the file; of a SavedModel, the directory.
    """

    role: str
    runtime: str
    path: str


@dataclass(frozen=True, eq=False)
class Examples:
    """The same examples in both forms.

    Attributes:
      tensors: The inputs of the models by name, each `[k, ...]`, k >= 1, as Transform emits them.
      serialized: k `tf.train.Example`s; empty if no runtime takes them.

    Raises:
      ValueError: There is no example, or not the same number of all.
    """

    tensors: Tensors
    serialized: Sequence[bytes] = ()

    def __post_init__(self) -> None:
        counts = {len(values) for values in self.tensors.values()}
        if len(counts) != 1 or counts == {0} or len(self.serialized) not in (0, *counts):
            raise ValueError(
                "there must be an example, and as many serialized as tensors or none, got "
                f"{len(self.serialized)} and {', '.join(map(str, sorted(counts))) or 'no input'}"
            )

    @property
    def count(self) -> int:
        """Number of examples."""
        return count_examples(self.tensors)

    def first(self, count: int) -> Examples:
        """The first of the examples."""
        tensors = {name: values[:count] for name, values in self.tensors.items()}
        return Examples(tensors, self.serialized[:count])

    def pack(self) -> dict[str, NDArray[Any]]:
        """Arrays that `unpack` understands; texts as bytes and lengths, so nothing is pickled."""
        inputs = {f"input_{at}": values for at, values in enumerate(self.tensors.values())}
        return inputs | {
            "names": np.array([*self.tensors]),
            "text": np.frombuffer(b"".join(self.serialized), np.uint8),
            "lengths": np.array([len(each) for each in self.serialized], np.int64),
        }

    @classmethod
    def unpack(cls, arrays: Any) -> Examples:
        """The examples that were packed."""
        text, ends = arrays["text"].tobytes(), np.cumsum(arrays["lengths"])
        starts = ends - arrays["lengths"]
        serialized = [text[start:end] for start, end in zip(starts, ends, strict=True)]
        names = arrays["names"].tolist()
        return cls({name: arrays[f"input_{at}"] for at, name in enumerate(names)}, serialized)
