"""A full, realistic report of schema 3: what a run of the preset `digits` could have found.

The answers of the models are drawn at random on real digits, and everything that can be counted
from them is: accuracies, confusion, slices and so on belong together as they would in a real run.
The classes have words for names, so that no index passes for one.
Nothing here is imported from what measures or judges.
"""

from __future__ import annotations

import hashlib
import io
from functools import lru_cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from modules.judge.schema import Report
from pipeline.config import PipelineConfig

CLASSES, EXAMPLES, LEVEL = 10, 345, 1.96
LABELS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
RUNTIMES = ("litert_batch_1", "litert_batch_32", "saved_model_batch_1", "saved_model_batch_32")
VARIANTS = ("float32", "float16", "dynamic_range", "int8")
# Milliseconds of one example on LiteRT; SavedModel bytes, parameters.
P50 = {"teacher": 0.101, "student": 0.0042, "control": 0.0042}
P50 |= {"float32": 0.0042, "float16": 0.0047, "dynamic_range": 0.0039, "int8": 0.0031}
SIZES = {"teacher": (911_304, 171_434), "student": (102_118, 3_094), "control": (102_118, 3_094)}
FILES = {"float32": 15_204, "float16": 9_960, "dynamic_range": 7_648, "int8": 8_008}
TEACHER_FILE = 693_420


def sample_report(**changes: Any) -> Report:
    """The report; `changes` replace its top-level parts."""
    return Report.model_validate(sample_content(**changes))


def refused_report() -> Report:
    """The same student, judged by limits that it fails, or that cannot be decided."""
    content = sample_content()
    gate = content["gate"]
    gate |= {"blessed": False, "verdict": "failed", "tflite": []}
    gate["checks"][0] |= {"threshold": 0.995, "passed": False, "verdict": "failed"}
    gate["checks"][0]["reason"] = (
        "the student's accuracy lies below the required 0.9950 with its whole interval"
    )
    gate["checks"][1] |= {"threshold": 0.012, "passed": False, "verdict": "inconclusive"}
    gate["checks"][1]["reason"] = (
        "the limit of 0.0120 lies within the interval of the accuracy drop; judge on more examples"
    )
    return Report.model_validate(content)


def bare_report() -> Report:
    """A report in which everything that may be missing is, of a student that diverged."""
    content = sample_content()
    for key in ("slices", "confusion", "reliability", "disagreements", "curves"):
        del content[key]
    bare = {"loss": None, "ece": None, "latency": None}
    for role in ("teacher", "student"):
        kept = {key: content[role][key] for key in ("accuracy", "parameters", "size_bytes")}
        content[role] = kept | bare
    comparison = {"accuracy_change": -0.8, "agreement": 0.1, "distillation_gain": None}
    content |= {
        "control": None,
        "variants": {},
        "per_class": [],
        "comparison": comparison | {"speedup": None, "compression": 2.0},
        "pushed": None,
        "data": None,
        "lineage": None,
        "tuned": {},
        "search": None,
    }
    content["gate"] = {"blessed": False, "verdict": "failed", "checks": [], "tflite": []}
    return Report.model_validate(content)


def sample_images(report: Report) -> dict[str, bytes]:
    """PNG of the digits on which teacher and student differ, by example id."""
    from PIL import Image

    pixels, _ = _digits()
    place = {_example_id(index): index for index in range(EXAMPLES)}
    images = {}
    for each in report.disagreements:
        stream = io.BytesIO()
        Image.fromarray(pixels[place[each.example_id]]).save(stream, "png")
        images[each.example_id] = stream.getvalue()
    return images


@lru_cache(1)
def _digits() -> tuple[np.ndarray, np.ndarray]:
    spec = find_spec("sklearn")  # Not imported, which takes seconds.
    assert spec is not None and spec.submodule_search_locations
    path = Path(spec.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
    table = np.loadtxt(path, delimiter=",")[-EXAMPLES:]
    gray = np.rint(table[:, :-1] * (255 / 16)).astype(np.uint8)
    return gray.reshape(-1, 8, 8), table[:, -1].astype(int)


def _example_id(index: int) -> str:
    return hashlib.sha256(f"digits/{index}".encode()).hexdigest()[:32]


def _answers() -> dict[str, np.ndarray]:
    """Probabilities `[EXAMPLES, CLASSES]` by model; what is hard for one is hard for all."""
    random = np.random.default_rng(11)
    _, labels = _digits()
    right = np.eye(CLASSES)[labels]
    hard = random.normal(size=right.shape) * random.gamma(1.2, 1.0, (EXAMPLES, 1))
    logits = {}
    for role, (margin, noise) in {
        "teacher": (9.0, 0.40),
        "student": (8.2, 0.62),
        "control": (7.3, 0.74),
    }.items():
        logits[role] = margin * right + 1.1 * hard + noise * random.normal(size=right.shape) * 2
    for name, noise in zip(VARIANTS, (0.0, 0.01, 0.15, 1.9), strict=True):
        logits[name] = logits["student"] + noise * random.normal(size=right.shape)
    powers = {name: np.exp(each - each.max(1, keepdims=True)) for name, each in logits.items()}
    return {name: each / each.sum(1, keepdims=True) for name, each in powers.items()}


def _mean_interval(values: np.ndarray) -> list[float]:
    half = LEVEL * float(values.std()) / len(values) ** 0.5
    return [float(values.mean()) - half, float(values.mean()) + half]


def _share_interval(values: np.ndarray) -> list[float]:
    """Wilson's interval."""
    n, share = len(values), float(values.mean())
    middle = (share + LEVEL**2 / (2 * n)) / (1 + LEVEL**2 / n)
    half = LEVEL / (1 + LEVEL**2 / n) * (share * (1 - share) / n + (LEVEL / n / 2) ** 2) ** 0.5
    return [max(0.0, middle - half), min(1.0, middle + half)]


def _change(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    low, high = _mean_interval(ours - theirs)
    return {"value": float((ours - theirs).mean()), "low": low, "high": high}


def _right(answers: np.ndarray) -> np.ndarray:
    return (answers.argmax(1) == _digits()[1]).astype(float)


def _losses(answers: np.ndarray) -> np.ndarray:
    return -np.log(answers[np.arange(EXAMPLES), _digits()[1]])


def _of_class(answers: np.ndarray, at: int) -> dict[str, float]:
    true, predicted = _digits()[1] == at, answers.argmax(1) == at
    hits = (true & predicted).sum()
    f1 = 2 * hits / (true.sum() + predicted.sum())
    return {"accuracy": float(hits / true.sum()), "f1": float(f1)}


def _bins(answers: np.ndarray) -> list[dict[str, Any]]:
    confidence, right = answers.max(1), _right(answers)
    edges = np.linspace(0, 1, 16)
    bins = []
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            part = {"low": float(low), "high": float(high), "count": int(inside.sum())}
            part["confidence"] = float(confidence[inside].mean())
            part["accuracy"] = float(right[inside].mean())
            bins.append(part)
    return bins


def _ece(answers: np.ndarray) -> float:
    gaps = [part["count"] * abs(part["confidence"] - part["accuracy"]) for part in _bins(answers)]
    return sum(gaps) / EXAMPLES


def _latency(name: str, way: str) -> dict[str, Any]:
    runtime, _, batch = way.rpartition("_batch_")
    seed = int(hashlib.sha256(f"{name} {way}".encode()).hexdigest()[:8], 16)
    random = np.random.default_rng(seed)
    middle = P50[name] * int(batch) ** 0.8 * (1 if runtime == "litert" else 1.6)
    middle += 0 if runtime == "litert" else 0.35
    spread = random.lognormal(0, 0.09, 2500) + random.gamma(0.4, 0.05, 2500)
    times = np.sort(middle * spread)
    p50, p90, p99 = (float(times[len(times) * rank // 100]) for rank in (50, 90, 99))
    return {
        "p50_ms": p50,
        "p90_ms": p90,
        "p99_ms": p99,
        "throughput": int(batch) * len(times) / float(times.sum()) * 1e3,
        "runtime": runtime,
        "threads": 1,
        "batch_size": int(batch),
        "queries": len(times),
        "distribution_ms": np.percentile(times, np.arange(101)).tolist(),
        "intervals": {
            "p50_ms": [p50 * 0.985, p50 * 1.02],
            "p99_ms": [p99 * 0.8, p99 * 1.4],
        },
    }


def _fresh(runtime: str, name: str) -> dict[str, Any]:
    memory = 402_653_184 if runtime == "saved_model" else 61_865_984
    return {
        "runtime": runtime,
        "load_ms": 412.7 if runtime == "saved_model" else 1.93,
        "peak_memory_bytes": memory + (9_000_000 if name == "teacher" else 1_400_000),
        "runtime_memory_bytes": memory - 12_000_000,
        "canaries": 16,
        "max_difference": 0.0 if runtime == "litert" else 1.9e-6,
        "passed": True,
        "problem": None,
    }


def _entry(name: str, answers: dict[str, np.ndarray]) -> dict[str, Any]:
    ours, labels = answers[name], _digits()[1]
    top = (np.argsort(-ours, axis=1)[:, :3] == labels[:, None]).any(1).astype(float)
    losses, ece = _losses(ours), _ece(ours)
    classes = [_of_class(ours, at) for at in range(CLASSES)]
    others = {"student": ("teacher", "control"), "teacher": (), "control": ("teacher",)}
    is_file, timed = name in VARIANTS, name != "control"
    ways = [way for way in RUNTIMES if timed and not (is_file and way.startswith("saved"))]
    runtimes = ("litert",) if is_file else ("saved_model",)
    return {
        "accuracy": float(_right(ours).mean()),
        "loss": float(losses.mean()),
        "balanced_accuracy": float(np.mean([each["accuracy"] for each in classes])),
        "macro_f1": float(np.mean([each["f1"] for each in classes])),
        "ece": ece,
        "top_k": {"3": float(top.mean())},
        "parameters": SIZES["student"][1] if is_file else SIZES[name][1],
        "size_bytes": FILES[name] if is_file else SIZES[name][0],
        "intervals": {
            "accuracy": _share_interval(_right(ours)),
            "loss": _mean_interval(losses),
            "ece": [ece * 0.7, ece * 1.6],
            "top_k.3": _share_interval(top),
        },
        "against": {
            other: {
                "accuracy": _change(_right(ours), _right(answers[other])),
                "loss": _change(losses, _losses(answers[other])),
            }
            for other in others.get(name, ("teacher", "student"))
        },
        "latency": _latency(name, RUNTIMES[0]) if timed else None,
        "latencies": {way: _latency(name, way) for way in ways},
        "fresh": {runtime: _fresh(runtime, name) for runtime in runtimes} if timed else {},
    }


def _variant(name: str, answers: dict[str, np.ndarray]) -> dict[str, Any]:
    layers = [("conv2d_1", "CONV_2D", 0.0913), ("dense", "FULLY_CONNECTED", 0.0402)]
    layers += [("conv2d", "CONV_2D", 0.0187), ("mean", "MEAN", 0.0121)]
    errors = [{"layer": layer, "operation": kind, "error": error} for layer, kind, error in layers]
    return _entry(name, answers) | {
        "file": f"student/{name}/model.tflite",
        "sha256": hashlib.sha256(name.encode()).hexdigest(),
        "compression": TEACHER_FILE / FILES[name],
        "layer_errors": errors if name == "int8" else [],
    }


def _speedup(median: float, runtime: str) -> dict[str, Any]:
    low, high = median * 0.982, median * 1.021
    return {
        "median": median,
        "ci_low": low,
        "ci_high": high,
        "confidence": 0.95,
        "runtime": runtime,
    }


def _comparison(parts: dict[str, Any], answers: dict[str, np.ndarray]) -> dict[str, Any]:
    teacher, student = parts["teacher"], parts["student"]
    agrees = (answers["teacher"].argmax(1) == answers["student"].argmax(1)).astype(float)
    teacher_right = _right(answers["teacher"]) > 0
    change = student["against"]["teacher"]["accuracy"]
    gain = student["against"]["control"]["accuracy"]
    speedups: dict[str, dict[str, Any]] = {}
    for way, reference in teacher["latencies"].items():
        timed = {"student": student} | parts["variants"]
        speedups[way] = {
            name: _speedup(reference["p50_ms"] / each["latencies"][way]["p50_ms"], way[:-8])
            for name, each in timed.items()
            if way in each["latencies"]
        }
        for each in speedups[way].values():
            each["runtime"] = reference["runtime"]
    return {
        "accuracy_change": change["value"],
        "agreement": float(agrees.mean()),
        "agreement_teacher_right": float(agrees[teacher_right].mean()),
        "agreement_teacher_wrong": float(agrees[~teacher_right].mean()),
        "distillation_gain": gain["value"],
        "speedup": speedups[RUNTIMES[0]]["student"],
        "speedups": speedups,
        "aa_control": {
            way: _speedup(1 + 0.003 * at, teacher["latencies"][way]["runtime"])
            for at, way in enumerate(speedups)
        },
        "compression": teacher["size_bytes"] / student["size_bytes"],
        "intervals": {
            "accuracy_change": [change["low"], change["high"]],
            "agreement": _share_interval(agrees),
            "agreement_teacher_right": _share_interval(agrees[teacher_right]),
            "agreement_teacher_wrong": _share_interval(agrees[~teacher_right]),
            "distillation_gain": [gain["low"], gain["high"]],
        },
    }


def _slices(answers: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    pixels, labels = _digits()
    dark = pixels.mean((1, 2)) > np.median(pixels.mean((1, 2)))
    places: list[tuple[dict[str, str], np.ndarray]] = [
        ({"class_name": name}, labels == at) for at, name in enumerate(LABELS)
    ]
    places += [({"stroke": "thick"}, dark), ({"stroke": "thin"}, ~dark)]
    places += [({"class_name": "eight", "stroke": "thick"}, dark & (labels == 8))]
    slices = []
    for names, inside in places:
        part: dict[str, Any] = {"slice": names, "count": int(inside.sum())}
        for role in ("teacher", "student"):
            right, losses = _right(answers[role])[inside], _losses(answers[role])[inside]
            part[role] = {
                "accuracy": float(right.mean()),
                "loss": float(losses.mean()),
                "intervals": {"accuracy": _share_interval(right), "loss": _mean_interval(losses)},
            }
        ours, theirs = _right(answers["student"])[inside], _right(answers["teacher"])[inside]
        part["student"]["against"] = {"teacher": {"accuracy": _change(ours, theirs)}}
        slices.append(part)
    return slices


def _confusion(answers: np.ndarray) -> list[dict[str, int]]:
    table = np.zeros((CLASSES, CLASSES), int)
    np.add.at(table, (_digits()[1], answers.argmax(1)), 1)
    return [
        {"label": int(label), "predicted": int(predicted), "count": int(table[label, predicted])}
        for label, predicted in zip(*np.nonzero(table), strict=True)
    ]


def _disagreements(answers: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    teacher, student = answers["teacher"], answers["student"]
    return [
        {
            "example_id": _example_id(int(at)),
            "label": int(_digits()[1][at]),
            "teacher": int(teacher[at].argmax()),
            "student": int(student[at].argmax()),
            "teacher_confidence": float(teacher[at].max()),
            "student_confidence": float(student[at].max()),
        }
        for at in np.flatnonzero(teacher.argmax(1) != student.argmax(1))[:24]
    ]


def _curves() -> dict[str, dict[str, list[float | None]]]:
    random = np.random.default_rng(5)

    def falling(start: float, end: float, epochs: int) -> list[float | None]:
        values = end + (start - end) * np.exp(-np.arange(epochs) / epochs * 6)
        return (values * random.lognormal(0, 0.05, epochs)).tolist()

    curves: dict[str, dict[str, list[float | None]]] = {}
    for role, epochs in (("teacher", 25), ("student", 60), ("control", 60)):
        names = {"loss": (2.0, 0.05), "hard_loss": (2.2, 0.04)}
        if role == "student":
            names["soft_target_loss"] = (9.0, 0.3)
        curves[role] = {name: falling(*ends, epochs) for name, ends in names.items()}
        curves[role] |= {
            f"val_{name}": falling(start, 2 * end, epochs) for name, (start, end) in names.items()
        }
        accuracy = [1 - min(0.9, (value or 0) / 2.5) for value in curves[role]["val_hard_loss"]]
        curves[role]["val_accuracy"] = list(accuracy)
    curves["control"]["loss"][3] = None
    return curves


def _data() -> dict[str, Any]:
    splits = {}
    for split, examples in (("train", 1452), ("eval", EXAMPLES)):
        counts = np.bincount(_digits()[1], minlength=CLASSES) * examples // EXAMPLES
        counts[0] += examples - counts.sum()
        features = [
            {"name": "class_name", "type": "STRING", "missing": 0, "unique": CLASSES},
            {"name": "example_id", "type": "STRING", "missing": 0, "unique": examples},
            {"name": "image", "type": "BYTES", "missing": 0, "unique": examples},
            {"name": "label", "type": "INT", "missing": 0}
            | {"minimum": 0.0, "maximum": 9.0, "mean": 4.4905},
        ]
        classes = {name: int(count) for name, count in zip(LABELS, counts, strict=True)}
        splits[split] = {"examples": examples, "classes": classes, "features": features}
    return {"splits": splits, "anomalies": ["eval: class_name: a value that the schema lacks"]}


def _lineage() -> dict[str, Any]:
    named = [("examples", "Examples", "DigitsExampleGen/examples/1")]
    named += [("teacher", "Model", "TeacherTrainer/model/7")]
    named += [("student", "Model", "Distiller/model/9")]
    named += [("tflite", "TFLiteModels", "Exporter/tflite/10")]
    artifacts = [
        {"role": role, "type": kind, "id": at, "uri": f"runs/digits/pipeline_root/{uri}"}
        for at, (role, kind, uri) in enumerate(named, 1)
    ]
    return {"artifacts": artifacts, "code_digest": hashlib.sha256(b"code").hexdigest()}


def _check(name: str, value: float, threshold: float, reason: str, **more: Any) -> dict[str, Any]:
    check = {"name": name, "value": value, "threshold": threshold, "passed": True}
    return check | {"reason": reason, "verdict": "passed"} | more


def _gate(content: dict[str, Any]) -> dict[str, Any]:
    student, comparison = content["student"], content["comparison"]
    low, high = student["intervals"]["accuracy"]
    drop_low, drop_high = comparison["intervals"]["accuracy_change"]
    speedup = content["variants"]["dynamic_range"]["speedup"]
    accuracy, change = student["accuracy"], comparison["accuracy_change"]
    reason = f"student accuracy {accuracy:.4f} reaches the required 0.9000, as does its lower bound"
    checks = [_check("min_accuracy", accuracy, 0.9, reason, low=low, high=high)]
    reason = f"the accuracy drop of {-change:.4f} is within the limit of 0.0400"
    bounds = {"low": -drop_high, "high": -drop_low}
    checks += [_check("max_accuracy_drop", -change, 0.04, reason, **bounds)]
    for name, variant in content["variants"].items():
        against = variant["against"]["student"]["accuracy"]
        passed = name != "int8"
        ending = "is within" if passed else "exceeds"
        more = {"low": -against["high"], "high": -against["low"], "variant": name}
        more["counts"] = name == "dynamic_range"  # the one that ships
        reason = f"the accuracy drop of TFLite {name} {ending} the limit of 0.0100"
        check = _check("max_tflite_accuracy_drop", -against["value"], 0.01, reason, **more)
        verdict = {"passed": passed, "verdict": "passed" if passed else "failed"}
        checks += [check | verdict | {"name": f"max_tflite_accuracy_drop[{name}]"}]
    reason = f"the speed-up of {speedup['median']:.2f}x reaches the required 1.50x"
    bounds = {"low": speedup["ci_low"], "high": speedup["ci_high"]}
    bounds["variant"] = "dynamic_range"
    checks += [_check("min_speedup[dynamic_range]", speedup["median"], 1.5, reason, **bounds)]
    return {
        "blessed": True,
        "verdict": "passed",
        "checks": checks,
        "tflite": ["dynamic_range"],
        "remarks": ["Distillation helps: the student's accuracy is above the control's"],
    }


def _config() -> dict[str, Any]:
    config = PipelineConfig.model_validate(
        {
            "name": "digits",
            "seed": 7,
            "data": {"source": "digits"},
            "teacher": {"model": "resnet_small", "parameters": {"widths": [32, 64], "blocks": 2}},
            "student": {"model": "separable_cnn", "parameters": {"filters": [12, 24]}},
            "distill": {"alpha": 0.5, "temperature": 4.0, "control": True},
            "export": {"tflite": list(VARIANTS)},
            "gate": {"min_accuracy": 0.9, "max_accuracy_drop": 0.04, "min_speedup": 1.5},
            "push": {"tflite": "smallest"},
        }
    )
    return config.model_dump(mode="json")


def sample_content(**changes: Any) -> dict[str, Any]:
    """The report as plain data, to be changed at will."""
    answers = _answers()
    parts: dict[str, Any] = {role: _entry(role, answers) for role in SIZES}
    parts["variants"] = {name: _variant(name, answers) for name in VARIANTS}
    labels = _digits()[1]
    versions = {"python": "3.11.9", "tensorflow": "2.21.0", "keras": "3.15.0", "tfx": "1.21.0"}
    content = parts | {
        "schema_version": 3,
        "task": "classification",
        "name": "digits",
        "created": "2026-11-23T09:30:00+00:00",
        "confidence": 0.95,
        "labels": list(LABELS),
        "examples": {"eval": EXAMPLES},
        "per_class": [
            {
                "label": name,
                "count": int((labels == at).sum()),
                "teacher": _of_class(answers["teacher"], at),
                "student": _of_class(answers["student"], at),
            }
            for at, name in enumerate(LABELS)
        ],
        "slices": _slices(answers),
        "comparison": _comparison(parts, answers),
        "pushed": {"version": 3, "student": {"accuracy": 0.9565}, "variants": {}},
        "confusion": {role: _confusion(answers[role]) for role in ("teacher", "student")},
        "reliability": {
            name: _bins(answers[name]) for name in ("teacher", "student", "control", *VARIANTS)
        },
        "disagreements": _disagreements(answers),
        "curves": _curves(),
        "learned_from": {
            role: {"labeled": 1250, "unlabeled": hidden, "steps_per_epoch": steps}
            for role, hidden, steps in (
                ("teacher", 0, 40),
                ("student", 12_500, 430),
                ("control", 0, 430),
            )
        },
        "data": _data(),
        "lineage": _lineage(),
        "tuned": {"distill.temperature": 4.0, "student.train.learning_rate": 0.01},
        "search": _search(),
        "push": {"tflite": "smallest"},
        "environment": {
            "versions": versions | {"tensorflow-model-analysis": None, "ai-edge-litert": "2.3.0"},
            "platform": "Linux-6.1.0-x86_64-with-glibc2.36",
            "cpu": "Intel(R) Xeon(R) Processor @ 2.90GHz",
            "cpu_count": 2,
            "accelerators": [],
        },
        "config": _config(),
    }
    for name, speedup in content["comparison"]["speedups"][RUNTIMES[0]].items():
        if name in content["variants"]:
            content["variants"][name]["speedup"] = speedup
    content["gate"] = _gate(content)
    return content | changes


def _search() -> dict[str, Any]:
    def student(filters: list[int], state: str, size: int, **known: Any) -> dict[str, Any]:
        return {
            "name": f"separable_cnn filters {filters}, alpha 0.1",
            "state": state,
            "parameters": 10 * size,
            "sizes": {"float32": 3 * size, "int8": size},
            "latencies": {"float32": size / 1e6, "int8": size / 2e6},
            **known,
        }

    return {
        "objective": "smallest",
        "metric": "accuracy",
        "examples": 143,
        "teacher": 0.97,
        "students": [
            student([16, 32], "chosen", 9_000, epochs=20, loss=0.2, score=0.95),
            student([4, 8], "stopped", 5_000, epochs=5, loss=0.9, score=0.71),
            student([24, 48], "compared", 15_000, epochs=20, loss=0.19, score=0.958),
            student([32, 64], "refused", 60_000, reason="gate.max_size_bytes 50,000: too large"),
        ],
    }


def number_at(content: Any, path: str) -> Any:
    """What lies at a dotted path of a report as plain data; a key may have dots itself.

    Raises:
      KeyError: Nothing does.
    """
    if isinstance(content, list):
        at, _, rest = path.partition(".")
        return number_at(content[int(at)], rest) if rest else content[int(at)]
    for key in content if isinstance(content, dict) else ():
        if path == key:
            return content[key]
        if path.startswith(f"{key}."):
            try:
                return number_at(content[key], path[len(key) + 1 :])
            except (KeyError, IndexError, ValueError):
                continue
    raise KeyError(path)
