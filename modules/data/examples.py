"""Input pipelines over Transform's examples: streamed, batched, in a repeatable order."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from modules.data.augmentation import augment_inputs, mix, partners, view_keys
from modules.data.features.decode import model_inputs, parse_spec
from modules.data.sampling import BalancedChoice
from modules.data.spec import EXAMPLE_ID, EXAMPLE_WEIGHT, LABEL, DataSpec
from modules.settings import AugmentSettings, DataSettings

Inputs = dict[str, tf.Tensor]
# Of some examples: parsed features by name, the teachers' answers, and which have a label.
Rows = tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]

# What is held while examples are put in order, and while their ids are read; whatever their size.
_SHUFFLE_BYTES = 256 * 1024**2
_PARSE_BYTES = 4 * 1024**2
_PARSE_BATCH = 1024
# Id, label and what TensorFlow adds to a record in memory.
_RECORD_OVERHEAD = 512
# Below this many bytes the examples are held in memory, parsed.
_CACHE_LIMIT = 512 * 1024**2
_VALIDATION_BUCKETS = 1_000_000
_ID = {EXAMPLE_ID: tf.io.FixedLenFeature([], tf.string)}


@dataclass(frozen=True)
class Order:
    """How the training examples are gone through.

    Attributes:
      batch_size: Examples per batch; the last two batches of an epoch may be smaller.
      seed: Of the order.
      epochs: Which epochs, one after the other. Order and views are functions of seed and epoch, so
        that a training which is taken up again at some epoch sees what an unbroken one would have
        seen.
    """

    batch_size: int
    seed: int
    epochs: range = range(1)


@dataclass(frozen=True)
class View:
    """Which changed images the student is shown.

    Attributes:
      settings: What is changed.
      count: How many views there are of an example; epoch e shows view `(e + its id) % count`. 0:
        another one in every epoch, without end.
      seed: Of the views; the same for SoftTargets and the training.
    """

    settings: AugmentSettings
    count: int
    seed: int


class CachedLogits(Protocol):
    """Teachers' answers to files of examples, record by record in the same order.

    `modules.teachers.cache.SoftTargetCache` is one.
    """

    @property
    def record_bytes(self) -> int:
        """Bytes of the answers to one example."""

    def check_fits(self, files: Sequence[str]) -> None:
        """Raise DataError unless the answers are to these files."""

    def records(self, files: Sequence[str]) -> tf.data.Dataset:
        """One string for each example of some of the files."""

    def logits(self, records: tf.Tensor, ids: tf.Tensor, views: tf.Tensor) -> tf.Tensor:
        """Logits `[b, teachers, classes]` of records `[b]`, of which the ids are checked."""


class ExampleData:
    """The transformed examples under some file patterns.

    Args:
      file_patterns: Globs of gzipped TFRecord files of transformed examples.
      spec: What is in them.
      settings: The share of `train` that is held out for validation.
      cached_logits: The teachers' answers to these very files, or None.
      unlabeled_patterns: Of further examples to learn from, whose labels and weights mean nothing.
      labels_only: Learn from the labeled examples alone, but in as many steps: they come again, in
        another order and view, until an epoch is as long as with the unlabeled ones.
    """

    def __init__(
        self,
        file_patterns: Sequence[str],
        spec: DataSpec,
        settings: DataSettings,
        cached_logits: CachedLogits | None = None,
        unlabeled_patterns: Sequence[str] = (),
        labels_only: bool = False,
    ):
        self.files, self.unlabeled_files = _files(file_patterns), _files(unlabeled_patterns)
        self.spec = spec
        self._features = parse_spec(spec)
        self._settings = settings
        self._cached_logits = cached_logits
        self._has_marks = bool(self.unlabeled_files) and not labels_only
        self._record_bytes = _input_bytes(spec) + _RECORD_OVERHEAD
        if cached_logits is not None:
            self._record_bytes += cached_logits.record_bytes
            cached_logits.check_fits([*self.files, *self.unlabeled_files])

    @cached_property
    def labeled_count(self) -> int:
        """How many labeled examples are learned from; the first call reads them all."""
        if self._are_small:
            return int(np.count_nonzero(self._held[2]))
        return _count(self._records(validation=False))

    @property
    def unlabeled_count(self) -> int:
        """How many unlabeled examples are learned from; the first call reads them all."""
        return self.training_count() - self.labeled_count if self._has_marks else 0

    def training_count(self) -> int:
        """How many examples make an epoch; the first call reads them all."""
        return self.labeled_count + self._all_unlabeled

    @cached_property
    def _all_unlabeled(self) -> int:
        if self._has_marks and self._are_small:
            return len(self._held[2]) - self.labeled_count
        return _count(self._answered(self.unlabeled_files)) if self.unlabeled_files else 0

    def training(self, order: Order, view: View | None = None) -> tf.data.Dataset:
        """`(inputs, y)` batches of all epochs, another order in each; see `Distiller` for `y`.

        A third element, `[b]`, weights the examples, if the data are weighted or their classes. An
        unlabeled example has the weight 1. That all epochs are one dataset is for small data: to
        begin one takes as long as to go through a thousand small examples.
        """
        count, (elements, rows) = self.training_count(), self._training_rows()
        passes = 1 if self._has_marks else math.ceil(count / max(self.labeled_count, 1))
        held = max(_SHUFFLE_BYTES // self._record_bytes, order.batch_size)

        def one_pass(turn: tf.Tensor) -> tf.data.Dataset:
            # Within a traced function this seeds the function alone; 0 would not be a seed.
            tf.random.set_seed(order.seed + 1)
            shuffled = elements.shuffle(held, seed=turn, reshuffle_each_iteration=False)
            return tf.data.Dataset.zip((shuffled, tf.data.Dataset.from_tensors(turn).repeat()))

        def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
            turns = tf.data.Dataset.range(epoch * passes, (epoch + 1) * passes)
            batches = turns.flat_map(one_pass).take(count).batch(order.batch_size)
            return _without_small_batch(batches, count, order.batch_size)

        return (
            tf.data.Dataset.range(order.epochs.start, order.epochs.stop)
            .flat_map(one_epoch)
            .map(
                lambda element, turns: self._training_batch(rows(element), turns, view),
                num_parallel_calls=2,
                deterministic=True,
            )
            .prefetch(tf.data.AUTOTUNE)
        )

    def _training_batch(self, rows: Rows, turns: tf.Tensor, view: View | None) -> Any:
        """A batch; `turns` `[b]` count how often the examples have been shown before."""
        features, answers, labeled = rows
        ids, label = features[EXAMPLE_ID], features[LABEL]
        inputs, y = model_inputs(features, self.spec), {"label": label}
        shown = tf.zeros_like(ids, tf.int64)
        if view is not None:
            offset = tf.strings.to_hash_bucket_fast(ids, 1 << 30)
            shown = (offset + turns) % view.count if view.count else offset + turns
            inputs = augment_inputs(inputs, self.spec, ids, shown, view.settings, view.seed)
            if view.settings.mixup:
                keys = view_keys(ids, shown + view.count * turns, view.seed)
                largest = view.settings.mixup
                inputs, y["label"] = self._mixed(inputs, label, partners(labeled), keys, largest)
        if self._cached_logits is not None:
            y["teacher_logits"] = self._cached_logits.logits(answers, ids, shown)
        if self._has_marks:
            y["labeled"] = labeled
        return self._weighted(features, inputs, y)

    def validation(self, batch_size: int) -> tf.data.Dataset:
        """`(inputs, y)` batches of the part of `train` that is held out, in fixed order.

        With weights as in `training`.
        """
        records = self._records(validation=True)

        def parse(serialized: tf.Tensor, answers: tf.Tensor) -> Any:
            features = tf.io.parse_example(serialized, self._features)
            y = {"label": features[LABEL]}
            if self._cached_logits is not None:
                ids = features[EXAMPLE_ID]
                view = tf.fill(tf.shape(ids), tf.constant(-1, tf.int64))
                y["teacher_logits"] = self._cached_logits.logits(answers, ids, view)
            return self._weighted(features, model_inputs(features, self.spec), y)

        batches = records.batch(batch_size).map(parse)
        if self._are_small:
            batches = batches.cache()
        count = int(batches.reduce(0, lambda count, _: count + 1))
        return batches.apply(tf.data.experimental.assert_cardinality(count))

    def everything(self, batch_size: int) -> tf.data.Dataset:
        """`(inputs, labels, ids)` batches of all examples, in the order of the files."""
        return self.of_files(self.files, batch_size)

    def of_files(self, files: Sequence[str], batch_size: int) -> tf.data.Dataset:
        """`(inputs, labels, ids)` batches of some of the files, in order."""
        return self._of_files(files, batch_size).map(
            lambda inputs, labels, ids, weights: (inputs, labels, ids)
        )

    def weighted(self, batch_size: int) -> tf.data.Dataset:
        """As `everything`, with weights `[b]` as a fourth element; 1 where the data have none."""
        return self._of_files(self.files, batch_size)

    def _of_files(self, files: Sequence[str], batch_size: int) -> tf.data.Dataset:
        def parse(serialized: tf.Tensor) -> Any:
            features = tf.io.parse_example(serialized, self._features)
            ids = features[EXAMPLE_ID]
            weights = features[EXAMPLE_WEIGHT] if self.spec.weighted else tf.ones(tf.shape(ids))
            return model_inputs(features, self.spec), features[LABEL], ids, weights

        records = tf.data.TFRecordDataset(list(files), compression_type="GZIP")
        return records.batch(batch_size).map(parse).prefetch(tf.data.AUTOTUNE)

    def balanced_sample(self, examples: int, seed: int) -> dict[str, np.ndarray]:
        """Training examples of all classes in turn, as evenly as the data allow.

        One pass over the records, of which no more than `examples` are kept. Which ones is a
        function of their ids and the seed, whatever their order and files.

        Returns:
          Inputs `[n, ...]` by name; `n` is `examples`, or all there are.
        """
        key = [0x3C6EF372, seed]

        def parse(serialized: tf.Tensor, _: tf.Tensor) -> Any:
            features = tf.io.parse_example(serialized, self._features)
            rank = tf.strings.to_hash_bucket_strong(features[EXAMPLE_ID], 1 << 62, key)
            return self._class_ids(features[LABEL]), rank, serialized

        chosen = BalancedChoice(examples, seed)
        batches = self._records(validation=False).batch(self._parse_batch()).map(parse)
        for labels, ranks, records in batches.as_numpy_iterator():
            for label, rank, record in zip(labels.tolist(), ranks.tolist(), records, strict=True):
                chosen.offer(label, rank, record)
        features = tf.io.parse_example(chosen.in_turn(), self._features)
        return {name: values.numpy() for name, values in model_inputs(features, self.spec).items()}

    def labeled(self, most: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray | None]:
        """The labeled examples that are learned from, in the order of the files.

        Args:
          most: Of more examples, so many are taken.

        Returns:
          Inputs `[n, ...]` by name, labels, and weights `[n]` as in `training`, or None.
        """

        def parse(serialized: tf.Tensor, _: tf.Tensor) -> Any:
            features = tf.io.parse_example(serialized, self._features)
            y = {"label": features[LABEL]}
            return self._weighted(features, model_inputs(features, self.spec), y)

        records = self._records(validation=False).take(most)
        batches = list(records.batch(self._parse_batch()).map(parse).as_numpy_iterator())
        inputs, labels, *weights = tf.nest.map_structure(
            lambda *parts: np.concatenate(parts), *batches
        )
        return inputs, labels["label"], weights[0] if weights else None

    def _class_ids(self, labels: tf.Tensor) -> tf.Tensor:
        """A class for each label `[b]`: of many labels the first, of values the same for all."""
        if self.spec.output.task == "regression":
            return tf.zeros_like(labels, tf.int64)
        return tf.argmax(labels, axis=1) if labels.shape.rank == 2 else labels

    def _mixed(
        self,
        inputs: Inputs,
        labels: tf.Tensor,
        others: tf.Tensor,
        keys: tf.Tensor,
        largest: float,
    ) -> tuple[Inputs, tf.Tensor]:
        """Every image with that of another example; `check_augmentation` allows nothing else."""
        truth = tf.one_hot(labels, self.spec.output.size)
        mixed, blended = {}, truth
        for name, pixels in inputs.items():
            mixed[name], blended = mix(pixels, truth, others, keys, largest)
        return mixed, blended

    def _weighted(self, features: Any, inputs: Inputs, y: dict[str, tf.Tensor]) -> Any:
        weights = features[EXAMPLE_WEIGHT] if self.spec.weighted else None
        if self.spec.class_weights:
            of_classes = tf.constant(self.spec.class_weights, tf.float32)
            # Without label it is -1, whose weight is not used.
            own = tf.gather(of_classes, tf.maximum(features[LABEL], 0))
            weights = own if weights is None else weights * own
        if weights is None:
            return inputs, y
        return inputs, y, tf.where(y["labeled"], weights, 1.0) if "labeled" in y else weights

    def _training_rows(self) -> tuple[tf.data.Dataset, Callable[[Any], Rows]]:
        """What stands for each example while they are put in order, and how a batch is read.

        Either way the order is the same, and unlabeled examples are spread evenly among the
        others: what is shuffled is a part of very many examples, and has to hold both.
        """
        if self._are_small:
            held = self._held
            numbers = tf.data.Dataset.range(len(held[2]))
            return numbers, lambda chosen: _gather(held, chosen)

        def marked(records: tf.data.Dataset, labeled: bool) -> tf.data.Dataset:
            marks = tf.data.Dataset.from_tensors(tf.constant(labeled)).repeat()
            return tf.data.Dataset.zip((records, marks)).map(lambda record, mark: (*record, mark))

        def rows(record: Any) -> Rows:
            serialized, answers, labeled = record
            return tf.io.parse_example(serialized, self._features), answers, labeled

        labeled = marked(self._records(validation=False), True)
        if not self._has_marks:
            return labeled, rows
        unlabeled = marked(self._answered(self.unlabeled_files), False)
        places = _spread(self.labeled_count, self.training_count())
        return tf.data.Dataset.choose_from_datasets([unlabeled, labeled], places), rows

    @cached_property
    def _held(self) -> Rows:
        """All that is learned from, in this machine's memory: batches are made on its processor."""
        with tf.device("CPU"):
            labeled = self._hold(self._records(validation=False), labeled=True)
            if not self._has_marks:
                return labeled
            both = _concatenated([labeled, self._hold(self._answered(self.unlabeled_files), False)])
            known, total = len(labeled[2]), len(both[2])
            marks = np.array(list(_spread(known, total).as_numpy_iterator()), bool)
            # Where the labeled examples lie, and those of the others, which lie behind them.
            places = np.where(marks, marks.cumsum() - 1, known + (~marks).cumsum() - 1)
            return _gather(both, places)

    def _hold(self, records: tf.data.Dataset, labeled: bool) -> Rows:
        """`(serialized, answers)` as rows in memory."""
        parts = [
            (
                tf.io.parse_example(serialized, self._features),
                answers,
                tf.fill(tf.shape(answers), labeled),
            )
            for serialized, answers in records.batch(self._parse_batch())
        ]
        none = tf.constant([], tf.string)
        empty = tf.io.parse_example(none, self._features), none, tf.constant([], tf.bool)
        return _concatenated(parts or [empty])

    @cached_property
    def _are_small(self) -> bool:
        """Whether the examples are held in memory."""
        files = [*self.files, *self.unlabeled_files]
        compressed = sum(tf.io.gfile.stat(file).length for file in files)
        # Pixels seldom compress to less than a quarter.
        return 4 * compressed <= _CACHE_LIMIT

    def _records(self, validation: bool) -> tf.data.Dataset:
        """`(serialized, answers)` of what is (or is not) held out, decided by a hash of the id."""
        threshold = round(self._settings.validation_fraction * _VALIDATION_BUCKETS)
        # A keyed hash, so that the choice is independent of the train/eval split's.
        key = [0x7F4A7C15, self._settings.split_seed]

        def choose(serialized: tf.Tensor, answers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            ids = tf.io.parse_example(serialized, _ID)[EXAMPLE_ID]
            bucket = tf.strings.to_hash_bucket_strong(ids, _VALIDATION_BUCKETS, key)
            chosen = (bucket < threshold) == validation
            return tf.boolean_mask(serialized, chosen), tf.boolean_mask(answers, chosen)

        return self._answered(self.files).batch(self._parse_batch()).map(choose).unbatch()

    def _answered(self, files: Sequence[str]) -> tf.data.Dataset:
        """`(serialized, answers)`: the records of cached logits, or empty strings."""
        answers = (
            self._cached_logits.records(files)
            if self._cached_logits
            else tf.data.Dataset.from_tensors(tf.constant("")).repeat()
        )
        examples = tf.data.TFRecordDataset(list(files), compression_type="GZIP")
        return tf.data.Dataset.zip((examples, answers))

    def _parse_batch(self) -> int:
        return max(1, min(_PARSE_BATCH, _PARSE_BYTES // self._record_bytes))


def _without_small_batch(batches: tf.data.Dataset, count: int, batch_size: int) -> tf.data.Dataset:
    """The same examples, the last two batches made alike if the last has less than half its size.

    The statistics of a batch of very few examples spoil what batch normalization keeps of them,
    and a step on them is as long as any other.
    """
    whole, rest = divmod(count, batch_size)
    if not whole or not 0 < 2 * rest < batch_size:
        return batches
    first = (batch_size + rest + 1) // 2
    return batches.rebatch([*[batch_size] * (whole - 1), first, batch_size + rest - first])


def _files(patterns: Sequence[str]) -> list[str]:
    return sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern))


def _count(records: tf.data.Dataset) -> int:
    return int(records.reduce(0, lambda count, *_: count + 1))


def _gather(rows: Rows, numbers: Any) -> Rows:
    return tf.nest.map_structure(lambda column: tf.gather(column, numbers), rows)


def _concatenated(parts: Sequence[Rows]) -> Rows:
    return tf.nest.map_structure(lambda *columns: tf.concat(columns, axis=0), *parts)


def _spread(chosen: int, total: int) -> tf.data.Dataset:
    """`chosen` ones among `total` numbers, the others 0, as evenly as can be."""

    @tf.autograph.experimental.do_not_convert
    def block(first: tf.Tensor) -> tf.Tensor:
        place = tf.range(first, tf.minimum(first + _PARSE_BATCH, total))
        return (place + 1) * chosen // total - place * chosen // total

    return tf.data.Dataset.range(0, total, _PARSE_BATCH).map(block).unbatch()


def _input_bytes(spec: DataSpec) -> int:
    """Bytes of one example's inputs."""
    return sum(math.prod(each.shape) * (1 if each.dtype == "uint8" else 4) for each in spec.inputs)
