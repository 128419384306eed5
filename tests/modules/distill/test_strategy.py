"""Several workers, as processes on this machine."""

import json
import os
import signal
import subprocess
import sys
import time

import hosts
import numpy as np
import pytest
import tensorflow as tf
from checkout import HELPERS, ROOT
from example_files import write_examples
from image_data import image_spec
from small_models import build

from modules.distill.strategy import is_chief, make_strategy
from modules.errors import ConfigError

WORKER = HELPERS / "worker.py"


@pytest.fixture(scope="module")
def pattern(tmp_path_factory, digit_pixels, digit_labels):
    directory = tmp_path_factory.mktemp("workers") / "examples"
    count = 600
    return write_examples(directory, digit_pixels[:count], digit_labels[:count], range(count))


def start(pattern, directory, workers, epochs=3, seconds_between_saves=1000, places=()):
    """The processes of one training, and their logs; in two places as Vertex AI describes them."""
    directory.mkdir(exist_ok=True)
    addresses = [f"127.0.0.1:{port}" for port in hosts.free_ports(workers)]
    cluster = {"worker": addresses}
    tasks = [{"type": "worker", "index": index} for index in range(workers)]
    if places:
        cluster = {"chief": [f"{places[0].address}:2222"], "worker": [f"{places[1].address}:2222"]}
        tasks = [{"type": each, "index": 0, "trial": "x"} for each in cluster]
    processes = []
    for index, task in enumerate(tasks):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
        environment.pop("TF_CONFIG", None)
        if workers > 1:
            described = {"cluster": cluster, "environment": "cloud", "task": task}
            environment["TF_CONFIG"] = json.dumps(described)
        arguments = [pattern, directory, epochs, seconds_between_saves]
        enter = places[index].enter if places else ()
        with open(directory / f"{index}.log", "w") as log:
            processes.append(
                subprocess.Popen(
                    [*enter, sys.executable, str(WORKER), *map(str, arguments)],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                )
            )
    return processes


def finish(processes, directory, timeout=240):
    try:
        codes = [process.wait(timeout=timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()
    logs = [(directory / f"{index}.log").read_text() for index in range(len(processes))]
    assert codes == [0] * len(codes), "\n".join(logs)
    return logs


@pytest.mark.thorough
@pytest.mark.slow
def test_two_workers_learn_as_one_with_the_same_global_batch(pattern, tmp_path):
    curves, weights = {}, {}
    for workers in (1, 2):
        directory = tmp_path / str(workers)
        finish(start(pattern, directory, workers), directory)
        curves[workers] = json.loads((directory / "curve.json").read_text())
        with np.load(directory / "weights.npz") as arrays:
            weights[workers] = [arrays[name] for name in arrays]
    assert len(curves[1]) == 3
    assert curves[1][-1][0] < curves[1][0][0]
    np.testing.assert_allclose(curves[2], curves[1], rtol=2e-3)
    for two, one in zip(weights[2], weights[1], strict=True):
        np.testing.assert_allclose(two, one, atol=5e-3)


@pytest.mark.thorough
@pytest.mark.slow
def test_a_worker_that_dies_ends_the_training_and_a_rerun_takes_it_up(pattern, tmp_path):
    assert_taken_up_when_killed(pattern, tmp_path / "run", ())


@pytest.mark.real
@pytest.mark.slow
def test_one_of_two_hosts_dies_and_comes_back(pattern, tmp_path):
    """Each with a network of its own, and with the TF_CONFIG that Vertex AI documents."""
    if lack := hosts.lacking():
        pytest.skip(f"two hosts need {lack}")
    with hosts.hosts(2) as places:
        assert_taken_up_when_killed(pattern, tmp_path / "run", places)


def assert_taken_up_when_killed(pattern, directory, places):
    options = {"epochs": 12, "seconds_between_saves": 0, "places": places}
    chief, other = start(pattern, directory, 2, **options)
    state = directory / "state" / "state.npz"
    try:
        deadline = time.monotonic() + 120
        while not state.exists():
            assert time.monotonic() < deadline, (directory / "0.log").read_text()
            time.sleep(0.05)
        other.send_signal(signal.SIGKILL)
        code = chief.wait(timeout=240)
    finally:
        chief.kill()
        other.kill()
    log = (directory / "0.log").read_text()
    assert code != 0
    assert "another worker" in log, log[-3000:]
    assert state.exists()
    logs = finish(start(pattern, directory, 2, **options), directory)
    assert "taken up again behind epoch" in logs[0]


def test_one_device_without_a_cluster(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    strategy = make_strategy("auto")
    assert strategy.num_replicas_in_sync == max(1, len(tf.config.list_physical_devices("GPU")))
    assert is_chief(strategy)


def test_workers_without_a_cluster_are_refused(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ConfigError, match="TF_CONFIG names no cluster"):
        make_strategy("multi_worker")


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"cluster": {"worker": ["a:1"]}}', '{"cluster": {"worker": ["a:1"]}, "task": {}}'],
)
def test_a_malformed_cluster_is_one_line(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ConfigError) as caught:
        make_strategy("auto")
    assert "TF_CONFIG must be JSON with cluster and task" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.gpu
@pytest.mark.real
@pytest.mark.skipif(not tf.config.list_physical_devices("GPU"), reason="needs a GPU")
def test_mixed_precision_and_xla_on_a_gpu(pattern, tmp_path):
    import keras

    from modules.data.examples import ExampleData
    from modules.distill import training
    from modules.distill.distiller import Distiller
    from modules.settings import DataSettings, TrainSettings

    settings = TrainSettings(epochs=4, learning_rate=0.003, mixed_precision=True)
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = build("separable_cnn")
    finally:
        keras.config.set_dtype_policy("float32")
    distiller = Distiller(None, model, methods=())
    data = ExampleData([pattern], image_spec(), DataSettings())
    training.fit(distiller, data, training.Plan(settings, 1, str(tmp_path)))
    assert distiller.jit_compile
    assert distiller.history.history["loss"][-1] < distiller.history.history["loss"][0]
