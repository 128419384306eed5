"""The states of trainings: found again by the node's next execution, gone when published."""

import pytest

from modules.distill.saved_states import (
    discard_exported,
    mark_exported,
    node_directory,
    state_directory,
)


@pytest.fixture
def states(tmp_path):
    """Those of two trainings of a node, one with two generations, in its resume directory."""
    node = tmp_path / "a*[b]" / "Distiller"
    found = {}
    for key, generations in (("one", 2), ("two", 1)):
        directory = state_directory(f"{node}/model_run/17/", key)
        assert directory == str(node / "resume" / key)
        for generation in range(generations):
            file = node / "resume" / key / f"generation_{generation + 1}" / "state.npz"
            file.parent.mkdir(parents=True)
            file.write_bytes(b"state")
        found[key] = directory
    assert node_directory(f"{node}/model/18") == str(node)
    return node, found


def test_only_what_is_exported_goes(states):
    node, directories = states
    mark_exported(directories["one"])
    discard_exported(str(node))
    assert [path.name for path in (node / "resume").iterdir()] == ["two"]
    assert (node / "resume" / "two" / "generation_1" / "state.npz").exists()
    discard_exported(str(node))
    assert (node / "resume" / "two").exists()


def test_a_training_without_a_state_leaves_none(tmp_path):
    mark_exported(state_directory(f"{tmp_path}/model_run/1", "key"))
    discard_exported(str(tmp_path))
    assert not list(tmp_path.iterdir())
