"""The notebooks, run from top to bottom in a kernel of their own, and what they found there."""

import json
import os

import nbformat
import numpy as np
import pytest
from checkout import ROOT
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from sklearn.datasets import load_digits

NAMES = ("distillation_explained", "explore_run", "teacher_that_is_not_keras")


def read(name):
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """`run(name, question, **environment)`: the notebook's cells, and the question's answer.

    The question is an expression in the notebook's names whose value JSON can hold.
    """
    for place in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(place, str(tmp_path / place))

    def execute(name, question, **environment):
        notebook = read(name)
        source = f"import json\nprint(json.dumps({question}))"
        notebook.cells.append(nbformat.v4.new_code_cell(source))
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        client = NotebookClient(
            notebook,
            timeout=600,
            kernel_name="python3",
            resources={"metadata": {"path": str(ROOT / "notebooks")}},
        )
        client.execute(env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **environment})
        *cells, answer = notebook.cells
        (output,) = answer.outputs
        return {cell.id: cell for cell in cells}, json.loads(output.text)

    return execute


def shown(cell):
    """What a cell printed and the tables that it showed, as text."""
    texts = [output.text for output in cell.outputs if output.output_type == "stream"]
    data = [output.data for output in cell.outputs if "data" in output]
    return "".join(texts + [each.get("text/html", "") for each in data])


def pictures(cells):
    return {
        name
        for name, cell in cells.items()
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    }


def test_every_notebook_is_run_here():
    assert {path.stem for path in (ROOT / "notebooks").glob("**/*.ipynb")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_no_outputs_are_committed(name):
    notebook = read(name)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert not [cell.id for cell in code if cell.outputs or cell.execution_count is not None]
    # The cells' own metadata would hold times, and folded cells hide what is there to be read.
    assert not [cell.id for cell in notebook.cells if cell.metadata]
    assert notebook.metadata.kernelspec.name == "python3"


EXPLAINED = """{
    "epochs": EPOCHS,
    "logits": [teacher_logits.tolist(), alone_logits.tolist(), student_logits.numpy().tolist()],
    "labels": eval_labels.tolist(),
    "softened": [softened[t][chosen].tolist() for t in TEMPERATURES],
    "temperatures": TEMPERATURES,
    "lengths": [scale_temperatures.tolist(), lengths.tolist()],
    "sweep": list(sweep.items()),
    "distances": distances,
    "pooled": {name: values.tolist() for name, values in pooled.items()},
    "gains": list(gains.items()),
    "right": {name: values.tolist() for name, values in is_right.items()},
    "told": train_labels[train_labels >= 0].tolist(),
    "digits": len(train_labels),
}"""


def softmax(logits, temperature=1.0):
    powers = np.exp((logits - logits.max(-1, keepdims=True)) / temperature)
    return powers / powers.sum(-1, keepdims=True)


@pytest.mark.thorough
@pytest.mark.slow
def test_distillation_is_explained_with_numbers_that_are_right(run):
    cells, found = run("distillation_explained", EXPLAINED, TFX_DISTILL_EPOCHS="2")
    assert found["epochs"] == 2
    assert {"temperature", "scale", "dark", "alpha-picture", "features", "pca"} <= pictures(cells)
    teacher, alone, untrained = (np.array(logits) for logits in found["logits"])
    labels = np.array(found["labels"])
    for logits in (teacher, alone):
        assert f"accuracy {(logits.argmax(-1) == labels).mean():.4f}" in shown(cells["train"])

    # Of the training digits a hundred have a label, and nobody is told the others'.
    assert (len(found["told"]), found["digits"]) == (100, 1429)
    right = {name: np.array(values) for name, values in found["right"].items()}
    assert right["alone"].mean() == pytest.approx((alone.argmax(-1) == labels).mean())
    for name, (gain, low, high) in found["gains"]:
        assert gain == pytest.approx(right[name].mean() - right["alone"].mean())
        assert low <= gain <= high
    for name in ("alone", "taught, labeled digits", "taught, all digits"):
        assert f"{right[name].mean():.4f}" in shown(cells["unlabeled"])

    for temperature, softened in zip(found["temperatures"], found["softened"], strict=True):
        answers = softmax(teacher, temperature)
        assert np.abs(answers - softened).max(-1).min() < 1e-6
    ranks = np.argsort(found["softened"], axis=-1, kind="stable")
    assert (ranks == ranks[0]).all()
    assert (np.diff(np.max(found["softened"], axis=-1)) < 0).all()

    # The gradient of T² KL with respect to the student's logits is T (p_student - p_teacher).
    for temperature, length in zip(*found["lengths"], strict=True):
        gradient = temperature * (softmax(untrained, temperature) - softmax(teacher, temperature))
        assert length == pytest.approx(np.linalg.norm(gradient, axis=-1).mean(), rel=1e-3)

    for name in ("accuracy", "top2", "hard_loss", "soft_target_loss", "hint_loss"):
        assert name in shown(cells["keras"])

    sweep = dict(map(tuple, found["sweep"]))
    assert list(sweep) == [0, 0.1, 0.5, 1]
    assert sweep[0.1]["accuracy"] == pytest.approx(right["taught, all digits"].mean())
    assert sweep[1]["accuracy"] == pytest.approx((alone.argmax(-1) == labels).mean())
    own, wanted = softmax(alone, 4), softmax(teacher, 4)
    distance = 16 * (wanted * np.log(wanted / own)).sum(-1).mean()
    assert sweep[1]["distance"] == pytest.approx(distance, rel=1e-3)

    # Nothing is as near to the teacher as the teacher, and nothing else is quite as near.
    itself = found["distances"].pop("the teacher itself")
    assert len(itself) == 5 and max(itself.values()) < 1e-6
    for distances in found["distances"].values():
        assert all(distances[method] > itself[method] + 1e-6 for method in itself)
    for name in found["distances"]:
        grams = [np.array(found["pooled"][each]) for each in (name, "the teacher itself")]
        grams = [features @ features.T for features in grams]
        grams = [gram / np.linalg.norm(gram, axis=1, keepdims=True) for gram in grams]
        similarity = np.square(grams[0] - grams[1]).mean()
        assert found["distances"][name]["similarity preserving"] == pytest.approx(
            similarity, rel=1e-3
        )


EXPLORED = """{
    "artifacts": {name: artifact.id for name, artifact in artifacts.items()},
    "slices": slices,
    "givers": {node: sorted(nodes) for node, nodes in givers.items()},
    "end": end.id,
    "told": told,
    "curves": {n: {"/".join(k): list(v) for k, v in c.items()} for n, c in curves.items()},
    "examples": examples,
    "class_counts": class_counts,
    "shown": sorted(found),
}"""


@pytest.mark.thorough
def test_a_finished_run_is_explored(run, miniature_run):
    cells, found = run("explore_run", EXPLORED, TFX_DISTILL_RUN=str(miniature_run.output))
    assert {"compare", "tfma-picture", "lineage-picture", "curves", "data"} <= pictures(cells)
    artifacts = miniature_run.artifacts()
    assert found["artifacts"] == {name: artifact.id for name, artifact in artifacts.items()}
    report = json.loads((miniature_run.output / "report" / "report.json").read_text())

    for role in ("teacher", "student", "control"):
        assert f"{report[role]['accuracy']:.4f}" in shown(cells["numbers"])
    for role in ("teacher", "student"):
        assert found["slices"]["all"][role] == pytest.approx(report[role]["accuracy"], abs=1e-6)
        for each in report["per_class"]:
            by_tfma = found["slices"][f"class_name = {each['label']}"]
            assert by_tfma["examples"] == each["count"]
            assert by_tfma[role] == pytest.approx(each[role]["accuracy"], abs=1e-6)
    assert all(check["reason"] in shown(cells["verdict"]) for check in report["gate"]["checks"])
    differing = [each["example_id"] for each in report["disagreements"]]
    assert found["shown"] == sorted(differing[:12])

    end = "Pusher.pushed_model" if report["gate"]["blessed"] else "Evaluator.evaluation"
    assert found["end"] == artifacts[end].id
    assert found["givers"]["ExampleGen"] == []
    assert found["givers"]["Distiller"] == ["SoftTargets", "TeacherTrainer", "Transform"]
    assert {"TeacherTrainer", "Control", "Distiller"} < set(found["givers"]["Evaluator"])
    config = miniature_run.config()
    assert found["told"]["distill"]["alpha"] == config.distill.alpha

    for node, model in (("TeacherTrainer", config.teacher), ("Distiller", config.student)):
        assert len(found["curves"][node]["validation/hard_loss"]) == model.train.epochs
    assert np.isfinite(found["curves"]["Distiller"]["train/soft_target_loss"]).all()
    assert found["examples"]["eval"] == report["examples"]["eval"]
    digits = np.bincount(load_digits().target)
    for digit, count in enumerate(digits):
        assert count == sum(found["class_counts"][split][str(digit)] for split in ("train", "eval"))
    assert shown(cells["anomalies"]) == "train: 0 anomalies\neval: 0 anomalies\n"


FOREST = """{
    "blessed": outcome.blessed,
    "forest": forest.score(parts["eval"][numbers], parts["eval"]["category"]),
    "judged": report.teacher.accuracy,
    "gain": [gain, low],
    "speedup": report.comparison.speedup,
    "learned": report.learned_from["student"].unlabeled,
}"""


@pytest.mark.thorough
def test_a_forest_teaches_through_a_file_of_answers(run):
    cells, found = run("teacher_that_is_not_keras", FOREST)
    assert "report" in pictures(cells)
    assert found["blessed"] and found["speedup"] is None and found["learned"] == 1311
    assert found["judged"] == pytest.approx(found["forest"], abs=1e-9)
    assert found["gain"][0] > found["gain"][1] > 0
    assert f"distillation gain {found['gain'][0]:+.4f}" in shown(cells["report"])


@pytest.mark.thorough
def test_a_run_that_is_not_there_is_named(run, tmp_path):
    with pytest.raises(CellExecutionError, match=f"no finished run in {tmp_path}"):
        run("explore_run", "None", TFX_DISTILL_RUN=str(tmp_path))
