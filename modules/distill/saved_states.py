"""Where the states of trainings lie, and how long: until what was trained is published.

`<node>/resume/<key>/<step>/state.npz`, where the key stands for all that a training depends on, and
a step is an assistant or a generation. Beside the steps, an empty file says that the last one's
model is written; whoever sees the model published removes the directory.
"""

from __future__ import annotations

import os

import tensorflow as tf

_DIRECTORY = "resume"
_EXPORTED = "exported"


def state_directory(output_dir: str, key: str) -> str:
    """Where an interrupted training of the same inputs, configuration and code is found again.

    TFX gives every execution another working directory; beside `<output>/<execution>` is a place
    that all executions of the node share. On a cluster the place is below the pipeline root too,
    shared by the tries of one run: `<run>/<task>/<try>/<output>`.

    Args:
      output_dir: Of one of the execution's outputs.
      key: Of the training.
    """
    return os.path.join(node_directory(output_dir), _DIRECTORY, key)


def node_directory(output_dir: str) -> str:
    """What all executions of a node share, by one output of one of them."""
    return os.path.dirname(os.path.dirname(output_dir.rstrip("/")))


def mark_exported(directory: str) -> None:
    """Note that the model of a training is written, if there is a state of it."""
    if tf.io.gfile.isdir(directory):
        with tf.io.gfile.GFile(os.path.join(directory, _EXPORTED), "w") as file:
            file.write("")


def discard_exported(node_dir: str) -> None:
    """Remove the states of trainings whose models are written; call it when they are published.

    Args:
      node_dir: See `node_directory`.
    """
    states = os.path.join(node_dir, _DIRECTORY)
    if not tf.io.gfile.isdir(states):
        return
    for key in tf.io.gfile.listdir(states):
        directory = os.path.join(states, key.rstrip("/"))
        if tf.io.gfile.exists(os.path.join(directory, _EXPORTED)):
            tf.io.gfile.rmtree(directory)
