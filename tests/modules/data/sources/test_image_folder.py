"""Folders of real PNG and JPEG files."""

import os

import numpy as np
import pytest
import tensorflow as tf
from object_store import ObjectStore

from modules import files
from modules.data.sources.image_folder import ImageFolder
from modules.data.sources.protocol import Item
from modules.errors import ConfigError, DataError
from modules.settings import DataSettings


def _image(value=0, shape=(5, 4, 3)):
    return np.random.default_rng(value).integers(0, 256, shape, dtype=np.uint8)


def _png(value=0):
    return tf.io.encode_png(_image(value)).numpy()


def _jpeg(value=0):
    return tf.io.encode_jpeg(_image(value)).numpy()


@pytest.mark.parametrize("path", [None, "a*", "a?", "[a]"])
def test_a_path_is_needed_and_no_pattern(path):
    with pytest.raises(ConfigError, match=r"data\.path must be set|data\.path must not contain"):
        ImageFolder.check(DataSettings(source="image_folder", path=path))


def _folder(path, classes):
    for class_name, images in classes.items():
        (path / class_name).mkdir()
        for name, content in images.items():
            (path / class_name / name).write_bytes(content)
    return str(path)


def test_sorted_class_names_become_labels(tmp_path):
    files = {"dog": {"1.png": _png(1)}, "ant": {"b.jpg": _jpeg(2), "a.JPEG": _jpeg(3)}}
    path = _folder(tmp_path, files | {"Cat": {"x.PNG": _png(4)}})
    source = ImageFolder(path)
    assert source.labels == ("Cat", "ant", "dog")
    assert source.items() == [
        Item(f"{path}/Cat/x.PNG", 0),
        Item(f"{path}/ant/a.JPEG", 1),
        Item(f"{path}/ant/b.jpg", 1),
        Item(f"{path}/dog/1.png", 2),
    ]
    assert source.read(f"{path}/ant/a.JPEG") == _jpeg(3)


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
    source = ImageFolder(path)
    assert source.labels == ("a", "b")
    assert [item.name for item in source.items()] == [f"{path}/a/1.png", f"{path}/b/1.jpg"]


@pytest.mark.parametrize("root", ["file://{path}", "bucket://images/all", "bucket://images/all/"])
def test_urls_are_read(tmp_path, root):
    path = _folder(tmp_path, {"b": {"1.png": _png(1)}, "a": {"2.jpg": _jpeg(2), "c.png": _png(3)}})
    (tmp_path / "metadata.csv").write_text("file_name,x\nb/1.png,1\na/2.jpg,2\na/c.png,3\n")
    ObjectStore.reset()
    files.copy_tree(path, "bucket://images/all")
    settings = DataSettings(source="image_folder", path=root.format(path=path))
    source = ImageFolder.open(settings)
    assert source.labels == ("a", "b")
    items = source.items()
    assert [source.read(item.name) for item in items] == [_jpeg(2), _png(3), _png(1)]
    assert [item.features for item in items] == [("2",), ("3",), ("1",)]
    assert ImageFolder.unwatched(settings).startswith((tmp_path / "metadata.csv").read_bytes())


@pytest.mark.parametrize("change", ["swap folders", "rename a folder", "move an image", "metadata"])
def test_what_tfx_does_not_see_is_in_the_key(tmp_path, change):
    path = _folder(tmp_path, {"a": {"1.png": _png(1), "2.png": _png(1)}, "b": {"1.png": _png(1)}})
    for file in tmp_path.glob("*/*.png"):
        os.utime(file, ns=(10**18, 10**18))
    settings = DataSettings(source="image_folder", path=path)
    before = ImageFolder.unwatched(settings)
    (tmp_path / "a" / ".DS_Store").write_bytes(b"none of ours")
    assert ImageFolder.unwatched(settings) == before
    if change == "swap folders":
        for old, new in (("a", "c"), ("b", "a"), ("c", "b")):
            (tmp_path / old).rename(tmp_path / new)
    elif change == "rename a folder":
        (tmp_path / "a").rename(tmp_path / "c")
    elif change == "move an image":
        (tmp_path / "a" / "2.png").rename(tmp_path / "b" / "2.png")
    else:
        (tmp_path / "metadata.csv").write_text("file_name,x\n")
    assert ImageFolder.unwatched(settings) != before


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_path_that_is_no_directory(tmp_path, kind):
    path = tmp_path / "images"
    if kind == "file":
        path.write_bytes(_png())
    with pytest.raises(ConfigError, match=rf"data\.path must be an existing.*got '{path}'"):
        ImageFolder(str(path))


def test_no_class_and_single_class(tmp_path):
    with pytest.raises(DataError, match=r"at least two class sub-folders.*no class sub-folder"):
        ImageFolder(str(tmp_path))
    _folder(tmp_path, {"cat": {"1.png": _png()}, ".hidden": {}})
    with pytest.raises(DataError, match=r"at least two class sub-folders.*only the class 'cat'"):
        ImageFolder(str(tmp_path))


def test_class_folder_without_images_is_named(tmp_path):
    path = _folder(tmp_path, {"cat": {"1.png": _png()}, "dog": {"list.csv": b"", ".a.png": b""}})
    with pytest.raises(DataError, match=rf"the class folder '{path}/dog' holds no \.png"):
        ImageFolder(path).items()


@pytest.mark.parametrize("name", ["two\nlines", "two\rlines"])
def test_line_break_in_a_class_name(tmp_path, name):
    path = _folder(tmp_path, {"cat": {}, name: {}})
    with pytest.raises(DataError, match=r"class folder 'two\\[nr]lines' has a line break"):
        ImageFolder(path)


def _with_metadata(tmp_path, text, encoding="utf-8"):
    path = _folder(tmp_path, {"a": {"1.png": _png(1)}, "b": {"2.png": _png(2)}})
    (tmp_path / "metadata.csv").write_text(text, encoding=encoding)
    return path


@pytest.mark.parametrize("scheme", ["", "file://"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_metadata_give_every_image_its_features(tmp_path, scheme, encoding):
    text = 'light,file_name,site\nday,b/2.png,"Rhône, left"\nnight,a/1.png,\nday,c/3.png,x\n'
    source = ImageFolder(scheme + _with_metadata(tmp_path, text, encoding))
    assert source.features == ("light", "site")
    assert [item.features for item in source.items()] == [("night", ""), ("day", "Rhône, left")]


def test_without_metadata_there_are_no_features(tmp_path):
    source = ImageFolder(_folder(tmp_path, {"a": {"1.png": _png()}, "b": {"2.png": _png()}}))
    assert source.features == ()
    assert [item.features for item in source.items()] == [(), ()]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file_name,x,x\na/1.png,1,2\n", r"columns must be different names"),
        (
            "file_name,x\na/1.png,1\nb/1.png,2\na/1.png,3\n",
            r"metadata\.csv: 'a/1\.png' must have one row, but has several; keep one",
        ),
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
        ImageFolder(_with_metadata(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_image_without_metadata_is_named(tmp_path):
    source = ImageFolder(_with_metadata(tmp_path, "file_name,light\na/1.png,day\n"))
    with pytest.raises(DataError, match=r"there is no row for b/2\.png"):
        source.items()


def test_metadata_that_are_no_text(tmp_path):
    path = _folder(tmp_path, {"a": {"1.png": _png(1)}, "b": {"2.png": _png(2)}})
    (tmp_path / "metadata.csv").write_bytes(b"file_name,x\na/1.png,\xff\n")
    with pytest.raises(DataError, match=r"metadata\.csv must be a CSV file in UTF-8"):
        ImageFolder(path)


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_only_regular_files_are_read(tmp_path, kind):
    path = _folder(tmp_path, {"a": {"1.png": _png()}, "b": {"1.png": _png()}})
    odd = tmp_path / "b" / "2.png"
    if kind == "pipe":
        os.mkfifo(odd)
    else:
        odd.symlink_to("/dev/zero")
    with pytest.raises(DataError, match=rf"{odd} must be a regular file or a link to one; remove"):
        ImageFolder(path).items()


def test_a_link_to_an_image_is_read(tmp_path):
    path = _folder(tmp_path, {"a": {"1.png": _png()}, "b": {"1.png": _png(3)}})
    (tmp_path / "a" / "2.png").symlink_to(tmp_path / "b" / "1.png")
    source = ImageFolder(path)
    assert [source.read(item.name) for item in source.items()] == [_png(), _png(3), _png(3)]
