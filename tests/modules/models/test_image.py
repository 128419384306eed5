"""The built-in models: counts by hand, pixels, and the contract that each one keeps."""

import keras
import numpy as np
import pytest
from small_models import SMALL, build


def _pixels(shape=(8, 8, 1), count=5):
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


def _same_weights(first, second):
    pairs = zip(first.get_weights(), second.get_weights(), strict=True)
    return all(np.array_equal(one, other) for one, other in pairs)


# -- the contract --


def _hold_to_the_contract(model, shape, classes):
    assert model.input["image"].shape == (None, *shape)
    assert keras.backend.standardize_dtype(model.input["image"].dtype) == "uint8"
    logits = model({"image": _pixels(shape, 2)}, training=False).numpy()
    assert logits.shape == (2, classes) and logits.dtype == np.float32
    # Logits, not probabilities.
    assert logits.min() < 0 or not np.allclose(logits.sum(-1), 1)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("shape", "classes"), [((8, 8, 1), 10), ((9, 14, 3), 2)])
def test_uint8_in_and_float32_logits_out(name, shape, classes):
    _hold_to_the_contract(build(name, shape, classes, **SMALL[name]), shape, classes)


@pytest.mark.parametrize("name", SMALL)
def test_logits_are_float32_under_mixed_precision(name):
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = build(name, **SMALL[name])
        assert model.layers[2].compute_dtype == "float16"
        assert model({"image": _pixels()}).dtype == "float32"
    finally:
        keras.config.set_dtype_policy(policy)


# -- known numbers --


@pytest.mark.parametrize("blocks", [1, 2])
def test_separable_cnn_counted_by_hand(blocks):
    # Convolutions without bias; 4 numbers per channel and batch normalization; a dense layer.
    def block(before, after):
        return 9 * before + 4 * before + before * after + 4 * after

    first = 9 * 16 + 4 * 16
    model = build("separable_cnn", filters=[16, 32], blocks=blocks)
    rest = (blocks - 1) * block(32, 32) + 32 * 10 + 10
    assert model.count_params() == first + block(16, 32) + rest


@pytest.mark.parametrize(
    ("size", "sides"), [(8, [8, 4, 2]), (28, [28, 14, 7]), (64, [32, 16, 8]), (224, [112, 56, 28])]
)
def test_separable_cnn_halves_height_and_width(size, sides):
    model = build("separable_cnn", (size, size, 3), filters=[4, 4, 4])
    found = [model.get_layer(f"block{index}").output.shape[1] for index in (1, 2, 3)]
    assert found == sides


def test_cnn_tutorial_counted_by_hand():
    # Same padding, pooled twice: 32x32 -> 8x8 with 64 channels.
    convolutions = (27 * 32 + 32) + (9 * 32 * 64 + 64)
    dense = (8 * 8 * 64 * 64 + 64) + (64 * 10 + 10)
    assert build("cnn_tutorial", (32, 32, 3)).count_params() == convolutions + dense


def test_resnet_20_counted_by_hand():
    """The paper's 0.27 M, and its projection shortcuts (option B) at the two wider stages.

    With the parameter-free shortcuts of option A it would be 269,722.
    """
    model = build("resnet_small", (32, 32, 3), widths=[16, 32, 64], blocks=3)
    convolutions = 27 * 16 + 9 * (6 * 16 * 16 + (16 * 32 + 5 * 32 * 32) + (32 * 64 + 5 * 64 * 64))
    scales_and_offsets = 2 * (7 * 16 + 6 * 32 + 6 * 64)
    option_a = convolutions + scales_and_offsets + 64 * 10 + 10
    assert option_a == 269_722
    projections = (16 * 32 + 2 * 32) + (32 * 64 + 2 * 64)
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert trainable == option_a + projections == 272_474
    # The moving averages of every normalization are saved too.
    assert model.count_params() == trainable + scales_and_offsets + 2 * (32 + 64)
    weighted = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert len([layer for layer in weighted if layer.kernel_size == (3, 3)]) + 1 == 20


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("name", ["resnet_small", "separable_cnn"])
def test_dropout_works_while_training_only(name, dropout):
    model = build(name, **SMALL[name], dropout=dropout)
    # Without normalization by the batch, what remains to differ is dropout.
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    pixels = _pixels(count=20)
    calm = model({"image": pixels}, training=False).numpy()
    np.testing.assert_array_equal(calm, model({"image": pixels}, training=False))
    assert np.array_equal(model({"image": pixels}, training=True), calm) == (dropout == 0)


# -- pixels and files --


@pytest.mark.parametrize(
    ("name", "black", "white"),
    [("resnet_small", -1, 1), ("separable_cnn", -1, 1), ("cnn_tutorial", 0, 1)],
)
def test_pixels_are_scaled_inside(name, black, white):
    model = build(name, **SMALL[name])
    scaled = keras.Model(model.inputs, model.get_layer("scale").output)
    pixels = np.zeros((1, 8, 8, 1), np.uint8)
    pixels[0, 0, 0, 0] = 255
    values = scaled(pixels).numpy()
    np.testing.assert_allclose(values[0, 0, 0, 0], white, atol=1e-6)
    np.testing.assert_allclose(values[0, 1:, :, 0], black, atol=1e-6)


# -- seeds --


@pytest.mark.parametrize("name", SMALL)
def test_the_seed_decides_the_first_weights(name):
    def seeded(seed):
        keras.utils.set_random_seed(seed)
        return build(name, **SMALL[name])

    first = seeded(1)
    assert _same_weights(first, seeded(1))
    assert not _same_weights(first, seeded(2))
