"""modules.teachers.soft_targets: a teacher's answers to real digits, and whom they reach."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from example_files import write_examples
from image_data import image_spec
from scipy.special import softmax
from small_models import build

from modules.data.augmentation import augment
from modules.data.examples import ExampleData, Order, View
from modules.distill.targets import TEACHER_LOGITS
from modules.errors import ConfigError, DataError
from modules.settings import AugmentSettings, DataSettings
from modules.teachers.answer_store import AnswerStore
from modules.teachers.cache import Layout, SoftTargetCache
from modules.teachers.soft_targets import Request, compute

COUNT, SEED = 300, 11
DATA = DataSettings(validation_fraction=0.25)
SPEC = image_spec()
AUGMENT = AugmentSettings(pad_crop=1, cutout=2)


def _teacher(seed):
    keras.utils.set_random_seed(seed)
    return build("separable_cnn", filters=[8, 16], dropout=0.5)


@pytest.fixture(scope="module")
def teachers(digit_pixels, digit_labels):
    """One briefly trained, so that its batch statistics matter, and one as it was built."""
    first, second = _teacher(0), _teacher(1)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    first.compile(keras.optimizers.Adam(0.01), loss)
    first.fit(digit_pixels[600:1000], digit_labels[600:1000], epochs=2, verbose=0)
    return [first, second]


@pytest.fixture(scope="module")
def pattern(digit_pixels, digit_labels, tmp_path_factory):
    directory = tmp_path_factory.mktemp("digits") / "train"
    return write_examples(
        directory, digit_pixels[:COUNT], digit_labels[:COUNT], np.arange(COUNT), files=2
    )


@pytest.fixture(scope="module")
def soft_targets(teachers, pattern, tmp_path_factory):
    """Three views of every example, by both teachers."""
    directory = str(tmp_path_factory.mktemp("soft"))
    request = Request(3, AUGMENT, SEED)
    layout = compute(teachers, ExampleData([pattern], SPEC, DATA), request, directory)
    assert layout == Layout(10, 2, 3, None)
    return directory


def _answers(teachers, pixels):
    return np.stack([teacher(pixels, training=False) for teacher in teachers], axis=1)


def test_stored_answers_keep_their_place_among_models(teachers, pattern, tmp_path):
    (tmp_path / "stored").mkdir()
    store, data = AnswerStore(str(tmp_path / "stored")), ExampleData([pattern], SPEC, DATA)
    rng, known = np.random.default_rng(0), {}
    for _, _, ids in data.everything(COUNT):
        known = dict(zip(ids.numpy(), rng.normal(size=(COUNT, 10)).astype("f4"), strict=True))
    # In another order than that of the examples.
    store.add(sorted(known), np.stack([known[each] for each in sorted(known)]))
    directory = str(tmp_path / "soft")
    all_of_them = [teachers[0], store, teachers[1]]
    layout = compute(all_of_them, data, Request(0, AUGMENT, SEED), directory)
    assert layout == Layout(10, 3, 0, None)
    cached = ExampleData([pattern], SPEC, DATA, SoftTargetCache(directory))
    for inputs, y in cached.validation(64):
        models = _answers(teachers, inputs["image"])
        np.testing.assert_allclose(y[TEACHER_LOGITS][:, ::2], models, rtol=2e-3, atol=2e-3)
    records = tf.constant(list(SoftTargetCache(directory).records().as_numpy_iterator()))
    ids, view = tf.constant(list(known)), tf.fill([COUNT], tf.constant(-1, tf.int64))
    found = SoftTargetCache(directory).logits(records, ids, view)[:, 1]
    np.testing.assert_allclose(found, np.stack(list(known.values())), rtol=2e-3, atol=2e-3)


def _order(batch_size=64, epochs=range(1)):
    return Order(batch_size, 0, epochs)


def test_students_see_what_the_teachers_saw(teachers, pattern, soft_targets):
    data = ExampleData([pattern], SPEC, DATA, SoftTargetCache(soft_targets))
    view, seen = View(AUGMENT, 3, SEED), []
    for inputs, y in data.training(_order(epochs=range(3)), view):
        pixels = inputs["image"]
        expected = _answers(teachers, pixels)
        np.testing.assert_allclose(y[TEACHER_LOGITS], expected, rtol=2e-3, atol=2e-3)
        seen.append(pixels.numpy())
    seen = np.concatenate(seen)
    assert len(seen) == 3 * data.training_count()
    # The views do differ, else the above would say little.
    assert len({image.tobytes() for image in seen}) > 0.9 * len(seen)


def test_another_seed_of_the_views_would_be_noticed(teachers, pattern, soft_targets):
    # The comparison above is sharp: the answers to other views are not near.
    data = ExampleData([pattern], SPEC, DATA, SoftTargetCache(soft_targets))
    inputs, y = next(iter(data.training(_order(), View(AUGMENT, 3, SEED + 1))))
    pixels = inputs["image"]
    assert np.abs(y[TEACHER_LOGITS] - _answers(teachers, pixels)).max() > 0.1


def test_validation_is_answered_as_it_is(teachers, pattern, soft_targets, digit_pixels):
    data = ExampleData([pattern], SPEC, DATA, SoftTargetCache(soft_targets))
    known = {image.tobytes() for image in digit_pixels[:COUNT]}
    count = 0
    for inputs, y in data.validation(32):
        pixels = inputs["image"]
        assert {image.tobytes() for image in pixels.numpy()} <= known
        expected = _answers(teachers, pixels)
        np.testing.assert_allclose(y[TEACHER_LOGITS], expected, rtol=2e-3, atol=2e-3)
        count += len(pixels)
    assert count == COUNT - data.training_count() > 0


def test_every_record_by_hand(teachers, pattern, soft_targets):
    """The second way: all records, all views, in the order of the files."""
    data = ExampleData([pattern], SPEC, DATA)
    cached = SoftTargetCache(soft_targets)
    batches = zip(data.everything(50), cached.records().batch(50), strict=True)
    for (inputs, _, ids), records in batches:
        pixels = inputs["image"]
        for view in (0, 1, 2, -1):
            views = tf.fill([len(ids)], tf.constant(view, tf.int64))
            shown = pixels if view < 0 else augment(pixels, ids, views, AUGMENT, SEED)
            np.testing.assert_allclose(
                cached.logits(records, ids, views),
                _answers(teachers, shown),
                rtol=2e-3,
                atol=2e-3,
            )


def test_without_augmentation_the_one_view_is_the_image(teachers, pattern, tmp_path):
    plain = ExampleData([pattern], SPEC, DATA)
    compute(teachers[:1], plain, Request(1, AugmentSettings(), 0), tmp_path)
    data = ExampleData([pattern], SPEC, DATA, SoftTargetCache(str(tmp_path)))
    for inputs, y in data.training(_order()):
        pixels = inputs["image"]
        expected = _answers(teachers[:1], pixels)
        np.testing.assert_allclose(y[TEACHER_LOGITS], expected, rtol=2e-3, atol=2e-3)


def test_top_k_of_a_real_teacher(teachers, pattern, tmp_path):
    data = ExampleData([pattern], SPEC, DATA)
    request = Request(1, AugmentSettings(), 0, top_k=3)
    compute(teachers, data, request, str(tmp_path))
    taught = ExampleData([pattern], SPEC, DATA, SoftTargetCache(str(tmp_path)))
    for inputs, y in taught.validation(64):
        pixels = inputs["image"]
        expected = _answers(teachers, pixels)
        largest = np.sort(expected, axis=-1)[..., -3:]
        actual = np.sort(y[TEACHER_LOGITS], axis=-1)[..., -3:]
        np.testing.assert_allclose(actual, largest, rtol=2e-3, atol=2e-3)
        np.testing.assert_allclose(
            softmax(y[TEACHER_LOGITS], -1).max(-1), softmax(expected, -1).max(-1), rtol=1e-2
        )


@pytest.mark.parametrize("top_k", [10, 11])
def test_top_k_of_all_classes_is_none(teachers, pattern, tmp_path, top_k):
    request = Request(1, AugmentSettings(), 0, top_k)
    with pytest.raises(ConfigError, match=f"top_k must be below .* 10, got {top_k}; ") as caught:
        compute(teachers, ExampleData([pattern], SPEC, DATA), request, str(tmp_path / "soft"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "soft").exists()


def test_a_teacher_gone_astray(pattern, tmp_path):
    teacher = _teacher(0)
    weights = teacher.get_weights()
    weights[-1] = np.full_like(weights[-1], np.nan)
    teacher.set_weights(weights)
    with pytest.raises(DataError, match="not finite"):
        compute(
            [teacher],
            ExampleData([pattern], SPEC, DATA),
            Request(1, AugmentSettings(), 0),
            str(tmp_path),
        )
    with pytest.raises(DataError):
        SoftTargetCache(str(tmp_path))
