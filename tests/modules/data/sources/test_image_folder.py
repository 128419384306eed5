"""Folders of real PNG and JPEG files."""

import os
from contextlib import nullcontext

import numpy as np
import pytest
import tensorflow as tf
from beam_rows import rows_of
from object_store import ObjectStore

from modules import files
from modules.data.sources.image_folder import ImageFolder
from modules.data.sources.image_listing import Listing
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


def look(path):
    return ImageFolder.look(DataSettings(source="image_folder", path=path))


def _folder(path, classes):
    for class_name, images in classes.items():
        (path / class_name).mkdir()
        for name, content in images.items():
            (path / class_name / name).write_bytes(content)
    return str(path)


def names(listing):
    return [(image.name, image.class_name, image.split) for image in listing.images]


def rows(settings):
    """The values of every row, by the end of its name."""
    return {
        "/".join(row.name.rsplit("/", 2)[1:]): {
            name: each[0] for name, each in row.features.items()
        }
        for row in rows_of(settings)
    }


def test_folders_are_classes(tmp_path):
    files = {"dog": {"1.png": _png(1)}, "ant": {"b.jpg": _jpeg(2), "a.JPEG": _jpeg(3)}}
    path = _folder(tmp_path, files | {"Cat": {"x.WebP": b"", "y.bmp": b"", "z.gif": b""}})
    listing = Listing.of(path)
    assert listing.class_names == ["Cat", "ant", "dog"]
    assert names(listing) == [
        ("Cat/x.WebP", "Cat", ""),
        ("Cat/y.bmp", "Cat", ""),
        ("Cat/z.gif", "Cat", ""),
        ("ant/a.JPEG", "ant", ""),
        ("ant/b.jpg", "ant", ""),
        ("dog/1.png", "dog", ""),
    ]


def test_leftovers_are_passed_over(tmp_path, caplog):
    path = _folder(
        tmp_path,
        {
            "a": {"1.png": _png(), ".2.png": _png(), "Thumbs.db": b"", "desktop.ini": b""},
            "b": {"1.jpg": _jpeg(), ".DS_Store": b""},
            ".cache": {"1.png": _png()},
            "__MACOSX": {"._1.png": b""},
            "@eaDir": {"1.png": b""},
        },
    )
    (tmp_path / "a" / "@eaDir").mkdir()
    (tmp_path / "a" / "@eaDir" / "thumb.png").write_bytes(_png())
    (tmp_path / "beside.png").write_bytes(_png())
    listing = Listing.of(path)
    assert [image.name for image in listing.images] == ["a/1.png", "b/1.jpg"]
    assert not caplog.records


def test_nested_folders_and_unknown_files_are_counted_and_named(tmp_path, caplog):
    path = _folder(
        tmp_path,
        {"a": {"1.png": _png(), "x.txt": b"", "y.txt": b"", "png": b""}, "b": {"1.jpg": _jpeg()}},
    )
    (tmp_path / "a" / "2024" / "may").mkdir(parents=True)
    (tmp_path / "a" / "2024" / "may" / "2.png").write_bytes(_png(2))
    assert ("a/2024/may/2.png", "a", "") in names(Listing.of(path))
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}/a: 1 image(s) of folders in it count as 'a': 2024/may (1)",
        f"{path}/a: 3 file(s) are no images by their names: .txt (2), png (1)",
    ]


@pytest.mark.parametrize("other", ["val", "valid", "validation", "test", "eval"])
def test_folders_of_splits(tmp_path, other):
    for split in ("Train", other):
        (tmp_path / split).mkdir()
        _folder(tmp_path / split, {"a": {"1.png": _png()}, "b": {"1.png": _png(1)}})
    _folder(tmp_path, {"unlabeled": {"1.png": _png(2)}, "__MACOSX": {}})
    assert sorted(names(Listing.of(str(tmp_path)))) == sorted(
        [
            ("Train/a/1.png", "a", "train"),
            ("Train/b/1.png", "b", "train"),
            (f"{other}/a/1.png", "a", "eval"),
            (f"{other}/b/1.png", "b", "eval"),
            ("unlabeled/1.png", "", "unlabeled"),
        ]
    )


def test_a_folder_of_unlabeled_images_beside_the_classes(tmp_path):
    path = _folder(tmp_path, {"a": {"1.png": _png()}, "b": {"1.png": _png(1)}})
    _folder(tmp_path, {"Unlabeled": {"1.png": _png(2)}, "Unlabeled/deep": {"2.png": _png(3)}})
    listing = Listing.of(path)
    assert listing.class_names == ["a", "b"]
    assert sorted(names(listing)) == [
        ("Unlabeled/1.png", "", "unlabeled"),
        ("Unlabeled/deep/2.png", "", "unlabeled"),
        ("a/1.png", "a", ""),
        ("b/1.png", "b", ""),
    ]


@pytest.mark.parametrize("classes", [("train", "test", "plane"), ("train", "plane")])
def test_a_class_may_be_called_train(tmp_path, classes):
    path = _folder(tmp_path, {name: {"1.png": _png()} for name in classes})
    assert Listing.of(path).class_names == sorted(classes)


def test_names_in_both_unicode_forms_are_one_class(tmp_path):
    path = _folder(
        tmp_path,
        {"B\u00e4r": {"1.png": _png()}, "Ba\u0308r": {"2.png": _png()}, "猫": {"1.png": _png()}},
    )
    assert Listing.of(path).class_names == ["B\u00e4r", "猫"]


@pytest.mark.parametrize("root", ["file://{path}", "bucket://images/all", "bucket://images/all/"])
def test_urls_are_read(tmp_path, root):
    path = _folder(tmp_path, {"b": {"1.png": _png(1)}, "a": {"2.jpg": _jpeg(2), "c.png": _png(3)}})
    (tmp_path / "metadata.csv").write_text("file_name,x\nb/1.png,1\na/2.jpg,2\na/c.png,3\n")
    ObjectStore.reset()
    files.copy_tree(path, "bucket://images/all")
    settings = DataSettings(source="image_folder", path=root.format(path=path))
    assert rows(settings) == {
        "a/2.jpg": {"image": _jpeg(2), "label": b"a", "x": b"2"},
        "a/c.png": {"image": _png(3), "label": b"a", "x": b"3"},
        "b/1.png": {"image": _png(1), "label": b"b", "x": b"1"},
    }
    before = ImageFolder.unwatched(settings)
    assert ImageFolder.unwatched(settings) == before
    for place in (path, "bucket://images/all"):
        files.copy(f"{place}/b/1.png", f"{place}/c/1.png")
        files.remove(f"{place}/b/1.png")
    assert ImageFolder.unwatched(settings) != before


@pytest.mark.parametrize(
    "change",
    ["swap folders", "swap contents", "rename a folder", "move an image", "metadata", "linked"],
)
def test_what_tfx_does_not_see_is_in_the_key(tmp_path, change):
    path = _folder(tmp_path, {"a": {"1.png": b"x", "2.png": b"y"}, "b": {"1.png": b"z"}})
    for file in tmp_path.glob("*/*.png"):
        os.utime(file, ns=(10**18, 10**18))
    _folder(tmp_path / "elsewhere", {"": {"1.png": b"1"}})
    (tmp_path / "c").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "b" / "round").symlink_to(tmp_path)
    (tmp_path / "b" / "lost.png").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "b" / "pipe.png")
    settings = DataSettings(source="image_folder", path=path)
    before = ImageFolder.unwatched(settings)
    (tmp_path / "a" / ".DS_Store").write_bytes(b"none of ours")
    os.utime(tmp_path / "a" / "1.png")
    assert ImageFolder.unwatched(settings) == before
    if change == "swap folders":
        for old, new in (("a", "d"), ("b", "a"), ("d", "b")):
            (tmp_path / old).rename(tmp_path / new)
    elif change == "swap contents":
        for name, content in (("1.png", b"y"), ("2.png", b"x")):
            (tmp_path / "a" / name).write_bytes(content)
    elif change == "linked":
        (tmp_path / "elsewhere" / "1.png").write_bytes(b"2")
    elif change == "rename a folder":
        (tmp_path / "a").rename(tmp_path / "d")
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
        Listing.of(str(path))


def test_no_class_and_single_class(tmp_path):
    with pytest.raises(DataError, match=r"at least two class sub-folders.*no class sub-folder"):
        Listing.of(str(tmp_path))
    _folder(tmp_path, {"cat": {"1.png": _png()}, ".hidden": {}})
    with pytest.raises(DataError, match=r"at least two class sub-folders.*only the class 'cat'"):
        Listing.of(str(tmp_path))


def test_class_folder_without_images_is_named(tmp_path):
    path = _folder(tmp_path, {"cat": {"1.png": _png()}, "dog": {"list.csv": b"", ".a.png": b""}})
    with pytest.raises(DataError, match=rf"the class folder '{path}/dog' holds no \.png"):
        Listing.of(path)


@pytest.mark.parametrize("name", ["two\nlines", "two\rlines"])
def test_line_break_in_a_class_name(tmp_path, name):
    path = _folder(tmp_path, {"cat": {}, name: {}})
    with pytest.raises(DataError, match=r"class folder 'two\\[nr]lines' has a line break"):
        look(path)


def _with_metadata(tmp_path, text, encoding="utf-8"):
    path = _folder(tmp_path, {"a": {"1.png": _png(1)}, "b": {"2.png": _png(2)}})
    (tmp_path / "metadata.csv").write_text(text, encoding=encoding)
    return path


@pytest.mark.parametrize("scheme", ["", "file://"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_metadata_give_every_image_its_features(tmp_path, scheme, encoding):
    text = 'light,file_name,site\nday,b/2.png,"Rhône, left"\nnight,a/1.png,\nday,c/3.png,x\n'
    path = scheme + _with_metadata(tmp_path, text, encoding)
    assert look(path) == ("image", "light", "site")
    found = rows(DataSettings(source="image_folder", path=path))
    assert found["a/1.png"]["light"] == b"night" and found["a/1.png"]["site"] == b""
    assert found["b/2.png"]["site"] == "Rhône, left".encode()


def test_without_metadata_there_are_no_features(tmp_path):
    path = _folder(tmp_path, {"a": {"1.png": _png()}, "b": {"2.png": _png()}})
    assert look(path) == ("image",)


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
        look(_with_metadata(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_image_without_metadata_is_named(tmp_path):
    path = _with_metadata(tmp_path, "file_name,light\na/1.png,day\n")
    with pytest.raises(DataError, match=r"there is no row for b/2\.png"):
        look(path)


def test_metadata_that_are_no_text(tmp_path):
    path = _folder(tmp_path, {"a": {"1.png": _png(1)}, "b": {"2.png": _png(2)}})
    (tmp_path / "metadata.csv").write_bytes(b"file_name,x\na/1.png,\xff\n")
    with pytest.raises(DataError, match=r"metadata\.csv must be a CSV file in UTF-8"):
        look(path)


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_only_regular_files_are_read(tmp_path, kind):
    path = _folder(tmp_path, {"a": {"1.png": _png()}, "b": {"1.png": _png()}})
    odd = tmp_path / "b" / "2.png"
    if kind == "pipe":
        os.mkfifo(odd)
    else:
        odd.symlink_to("/dev/zero")
    with pytest.raises(DataError, match=rf"{odd} must be a regular file or a link to one; remove"):
        Listing.of(path)


def test_a_link_to_an_image_is_read(tmp_path):
    path = _folder(tmp_path, {"a": {"1.png": _png()}, "b": {"1.png": _png(3)}})
    (tmp_path / "a" / "2.png").symlink_to(tmp_path / "b" / "1.png")
    assert [image.name for image in Listing.of(path).images] == ["a/1.png", "a/2.png", "b/1.png"]


def test_a_pipe_instead_of_metadata_is_named(tmp_path):
    path = _folder(tmp_path, {"a": {"1.png": _png()}, "b": {"1.png": _png()}})
    os.mkfifo(tmp_path / "metadata.csv")
    with pytest.raises(DataError, match=r"csv cannot be read \(it is not a regular file\)"):
        ImageFolder.look(DataSettings(source="image_folder", path=path))


def test_linked_folders_are_read_but_no_circles(tmp_path):
    """Three links that lead in circles would be read for ever, each level three times as much."""
    for name in ("data", "more"):
        (tmp_path / name).mkdir()
    path = _folder(tmp_path / "data", {"a": {"1.png": _png()}, "b": {"1.png": _png()}})
    _folder(tmp_path / "more", {"far": {"2.png": _png()}})
    (tmp_path / "data/a/linked").symlink_to(tmp_path / "more/far")
    for name, target in (("self", "a"), ("up", "."), ("other", "b")):
        (tmp_path / "data/a" / name).symlink_to(tmp_path / "data" / target)
    (tmp_path / "data/b/back").symlink_to(tmp_path / "data/a")
    names = {image.name for image in Listing.of(path).images}
    assert {"a/1.png", "a/linked/2.png", "a/other/1.png", "b/back/1.png"} <= names
    assert len(names) == 6


@pytest.mark.parametrize(("pool", "refused"), [("/d/a/pool", True), ("/d/pool", False)])
def test_unlabeled_images_must_not_lie_where_folders_are_classes(pool, refused):
    settings = DataSettings(source="image_folder", path="/d/a/", unlabeled=pool)
    with pytest.raises(ConfigError, match="unlabeled and remove") if refused else nullcontext():
        ImageFolder.check(settings)
