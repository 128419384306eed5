"""Tests of modules.data.sources: the embedded digits, and folders of real PNG and JPEG files."""

import hashlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from modules.data import sources
from modules.data.sources import DigitsSource, ImageFolderSource, Item
from modules.errors import ConfigError, DataError
from modules.settings import DataSettings


def _image(value=0, shape=(5, 4, 3)):
    return np.random.default_rng(value).integers(0, 256, shape, dtype=np.uint8)


def _png(value=0):
    return tf.io.encode_png(_image(value)).numpy()


def _jpeg(value=0):
    return tf.io.encode_jpeg(_image(value)).numpy()


# -- digits --


def test_digits_are_scikit_learns(digit_pixels, digit_labels):
    source = DigitsSource()
    items = source.items()
    assert len(items) == 1797
    assert source.labels == tuple("0123456789")
    assert [item.label for item in items] == digit_labels.tolist()
    assert len({item.name for item in items}) == 1797
    for index in range(0, 1797, 40):
        decoded = tf.io.decode_png(source.read(items[index].name))
        np.testing.assert_array_equal(decoded, digit_pixels[index])
    assert digit_pixels.max() == 255 and digit_pixels.min() == 0  # 16 and 0, scaled


def test_open_source_by_setting(tmp_path):
    assert isinstance(sources.open_source(DataSettings()), DigitsSource)
    _folder(tmp_path, {"a": {}, "b": {}})
    opened = sources.open_source(DataSettings(source="image_folder", path=str(tmp_path)))
    assert opened == ImageFolderSource(str(tmp_path))


# -- image_folder --


def _folder(path, classes):
    for class_name, files in classes.items():
        (path / class_name).mkdir()
        for name, content in files.items():
            (path / class_name / name).write_bytes(content)
    return str(path)


def test_sorted_class_names_become_labels(tmp_path):
    files = {"dog": {"1.png": _png(1)}, "ant": {"b.jpg": _jpeg(2), "a.JPEG": _jpeg(3)}}
    path = _folder(tmp_path, files | {"Cat": {"x.PNG": _png(4)}})
    source = ImageFolderSource(path)
    assert source.labels == ("Cat", "ant", "dog")
    assert source.items() == [
        Item(f"{path}/Cat/x.PNG", 0),
        Item(f"{path}/ant/a.JPEG", 1),
        Item(f"{path}/ant/b.jpg", 1),
        Item(f"{path}/dog/1.png", 2),
    ]
    assert source.read(f"{path}/ant/a.JPEG") == _jpeg(3)
    for item in source.items():
        sources.check_image(item.name, source.read(item.name), item.label, source.labels)


def test_hidden_entries_and_other_files_are_passed_over(tmp_path):
    path = _folder(
        tmp_path,
        {
            "a": {"1.png": _png(), ".2.png": _png(), "notes.txt": b"", "3.gif": b"", "png": b""},
            "b": {"1.jpg": _jpeg()},
            ".cache": {"1.png": _png()},
        },
    )
    (tmp_path / "beside.png").write_bytes(_png())
    source = ImageFolderSource(path)
    assert source.labels == ("a", "b")
    assert [item.name for item in source.items()] == [f"{path}/a/1.png", f"{path}/b/1.jpg"]


def test_file_urls_are_read_through_tensorflow(tmp_path):
    path = _folder(tmp_path, {"b": {"1.png": _png(1)}, "a": {"2.jpg": _jpeg(2)}})
    source = ImageFolderSource(f"file://{path}")
    assert source.labels == ("a", "b")
    assert [source.read(item.name) for item in source.items()] == [_jpeg(2), _png(1)]


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_path_that_is_no_directory(tmp_path, kind):
    path = tmp_path / "images"
    if kind == "file":
        path.write_bytes(_png())
    with pytest.raises(ConfigError, match=rf"data\.path must be an existing.*'{path}' is none"):
        ImageFolderSource(str(path))


def test_no_class_and_single_class(tmp_path):
    with pytest.raises(DataError, match=r"at least two class sub-folders.*no class sub-folder"):
        ImageFolderSource(str(tmp_path))
    _folder(tmp_path, {"cat": {"1.png": _png()}, ".hidden": {}})
    with pytest.raises(DataError, match=r"at least two class sub-folders.*only the class 'cat'"):
        ImageFolderSource(str(tmp_path))


def test_class_folder_without_images_is_named(tmp_path):
    path = _folder(tmp_path, {"cat": {"1.png": _png()}, "dog": {"list.csv": b"", ".a.png": b""}})
    with pytest.raises(DataError, match=rf"the class folder '{path}/dog' holds no \.png"):
        ImageFolderSource(path).items()


@pytest.mark.parametrize("name", ["two\nlines", "two\rlines"])
def test_line_break_in_a_class_name(tmp_path, name):
    path = _folder(tmp_path, {"cat": {}, name: {}})
    with pytest.raises(DataError, match=r"class folder 'two\\[nr]lines' has a line break"):
        ImageFolderSource(path)


# -- metadata.csv --


def _with_metadata(tmp_path, text, encoding="utf-8"):
    path = _folder(tmp_path, {"a": {"1.png": _png(1)}, "b": {"2.png": _png(2)}})
    (tmp_path / "metadata.csv").write_text(text, encoding=encoding)
    return path


@pytest.mark.parametrize("scheme", ["", "file://"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_metadata_give_every_image_its_features(tmp_path, scheme, encoding):
    text = 'light,file_name,site\nday,b/2.png,"Rhône, left"\nnight,a/1.png,\nday,c/3.png,x\n'
    source = ImageFolderSource(scheme + _with_metadata(tmp_path, text, encoding))
    assert source.features == ("light", "site")
    assert [item.features for item in source.items()] == [("night", ""), ("day", "Rhône, left")]


def test_without_metadata_there_are_no_features(tmp_path):
    source = ImageFolderSource(_folder(tmp_path, {"a": {"1.png": _png()}, "b": {"2.png": _png()}}))
    assert source.features == ()
    assert [item.features for item in source.items()] == [(), ()]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"metadata\.csv must have rows with a column file_name.*columns are \[\]"),
        ("file,light\na/1.png,day\n", r"column file_name.*\['file', 'light'\]"),
        ("file_name,label\na/1.png,1\n", r"columns must be.*other than image, label.*got label"),
        ("file_name,a b\na/1.png,1\n", r"columns must be.*got a b;"),
        ("file_name,light,site\na/1.png,day\n", r"the row of 'a/1\.png' must have as many"),
        ("file_name,light\na/1.png,day,extra\n", r"the row of 'a/1\.png' must have as many"),
    ],
)
def test_unusable_metadata_are_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message) as caught:
        ImageFolderSource(_with_metadata(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_image_without_metadata_is_named(tmp_path):
    source = ImageFolderSource(_with_metadata(tmp_path, "file_name,light\na/1.png,day\n"))
    with pytest.raises(DataError, match=r"row for every image, but b/2\.png has none"):
        source.items()


def test_metadata_that_are_no_text(tmp_path):
    path = _folder(tmp_path, {"a": {"1.png": _png(1)}, "b": {"2.png": _png(2)}})
    (tmp_path / "metadata.csv").write_bytes(b"file_name,x\na/1.png,\xff\n")
    with pytest.raises(DataError, match=r"metadata\.csv must be a CSV file in UTF-8"):
        ImageFolderSource(path)


# -- ids and splits --


def test_example_id_is_the_contents_digest():
    # `printf abc | sha256sum`
    known = b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sources.example_id(b"abc") == known
    image = _png()
    assert sources.example_id(image) == hashlib.sha256(image).hexdigest().encode()
    assert sources.example_id(_png(1)) != sources.example_id(image)


@pytest.fixture(scope="module")
def digit_ids():
    source = DigitsSource()
    return [sources.example_id(source.read(item.name)) for item in source.items()]


def _eval(ids, fraction, seed=0):
    settings = DataSettings(eval_fraction=fraction, split_seed=seed)
    return {identity for identity in ids if sources.in_eval_split(identity, settings)}


@pytest.mark.parametrize("fraction", [0.02, 0.2, 0.7])
def test_share_of_the_eval_split(digit_ids, fraction):
    ids = set(digit_ids)
    deviation = (fraction * (1 - fraction) / len(ids)) ** 0.5
    assert abs(len(_eval(ids, fraction)) / len(ids) - fraction) < 4 * deviation


def test_a_larger_fraction_only_adds(digit_ids):
    small, middle, large = (_eval(digit_ids, fraction) for fraction in (0.1, 0.2, 0.5))
    assert small < middle < large


def test_the_seed_changes_the_split(digit_ids):
    first, second = _eval(digit_ids, 0.5, seed=0), _eval(digit_ids, 0.5, seed=1)
    assert first == _eval(digit_ids, 0.5, seed=0)
    # Independent halves share a quarter.
    assert abs(len(first & second) / len(set(digit_ids)) - 0.25) < 0.05


def test_the_same_content_falls_on_the_same_side(digit_ids):
    # The split is a function of the bytes: neither name nor place nor process matters.
    assert _eval([sources.example_id(b"x")], 0.5) == _eval([sources.example_id(b"x")] * 3, 0.5)
    digest = hashlib.sha256(b"7/" + digit_ids[0]).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    assert _eval(digit_ids[:1], share + 1e-6, seed=7) == {digit_ids[0]}
    assert _eval(digit_ids[:1], share - 1e-6, seed=7) == set()


# -- check_image --


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_kind_of_png_passes(channels, dtype):
    image = tf.io.encode_png(np.ones((3, 3, channels), dtype)).numpy()
    sources.check_image("a.png", image, 1, ("x", "y"))


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (b"", r"not a PNG or JPEG file \(0 bytes\)"),
        (b"these are words", r"not a PNG or JPEG file \(15 bytes\)"),
        (b"GIF89a" + bytes(20), r"not a PNG or JPEG file \(26 bytes\)"),
        (_png()[:40], r"cannot be decoded \(Invalid PNG.*\)"),
        (_png()[:-30], r"cannot be decoded \(Invalid PNG.*\)"),
        (_jpeg()[: len(_jpeg()) // 2], r"cannot be decoded \(.*JPEG.*\)"),
    ],
    ids=["empty", "text", "gif", "header", "truncated png", "truncated jpeg"],
)
def test_broken_image_is_named_in_one_line(image, reason):
    with pytest.raises(DataError, match=rf"^data/cat/7\.png: .*{reason}$") as caught:
        sources.check_image("data/cat/7.png", image, 0, ("cat", "dog"))
    message = str(caught.value)
    assert "\n" not in message and "function_node" not in message and "Op:" not in message


@pytest.mark.parametrize("label", [-1, 2])
def test_label_outside_the_range(label):
    with pytest.raises(DataError, match=rf"^a\.png: label {label} is outside 0\.\.1$"):
        sources.check_image("a.png", _png(), label, ("cat", "dog"))


def test_cmyk_jpeg_that_transform_cannot_make_grey_is_refused(tmp_path):
    path = tmp_path / "print.jpg"
    Image.fromarray(_image()).convert("CMYK").save(path)
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.io.decode_image(path.read_bytes(), channels=1)
    with pytest.raises(DataError):
        sources.check_image(str(path), path.read_bytes(), 0, ("cat", "dog"))
