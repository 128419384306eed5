"""modules.judge.explanations: sentences with all their numbers."""

from __future__ import annotations

import pytest
from small_evidence import EVIDENCE, judged


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (
            {"min_accuracy": 0.94},
            "student accuracy 0.9700 (95% interval 0.9480 to 0.9830) reaches the required 0.9400",
        ),
        (
            {"min_accuracy": 0.99},
            "student accuracy 0.9700 (95% interval 0.9480 to 0.9830) is below the required 0.9900",
        ),
        # Rounded to four digits the bound and the limit would be the same number.
        (
            {"min_accuracy": 0.947996},
            "student accuracy 0.970000 (95% interval 0.948000 to 0.983000) reaches the "
            "required 0.947996",
        ),
        (
            {"min_accuracy": 0.96},
            "student accuracy 0.9700 (95% interval 0.9480 to 0.9830) reaches the required "
            "0.9600, but its interval extends below it; add eval examples (about 2,000 instead "
            "of 400, at the same rates) or loosen the limit",
        ),
        (
            {"min_accuracy": 0.98},
            "student accuracy 0.9700 (95% interval 0.9480 to 0.9830) is below the required "
            "0.9800, but its interval extends above it; improve the student or loosen the "
            "limit",
        ),
        (
            {"min_accuracy": 0.9699},
            "student accuracy 0.9700 (95% interval 0.9480 to 0.9830) reaches the required "
            "0.9699, but its interval extends below it; judge it on many more eval examples or "
            "loosen the limit",
        ),
        (
            {"max_accuracy_drop": 0.02},
            "the accuracy drop of 0.0100 (teacher 0.9800, student 0.9700; 95% interval 0.0020 "
            "to 0.0190) is within the limit of 0.0200",
        ),
        (
            {"max_accuracy_drop": 0.001},
            "the accuracy drop of 0.0100 (teacher 0.9800, student 0.9700; 95% interval 0.0020 "
            "to 0.0190) exceeds the limit of 0.0010",
        ),
        (
            {"max_accuracy_drop": 0.015},
            "the accuracy drop of 0.0100 (teacher 0.9800, student 0.9700; 95% interval 0.0020 "
            "to 0.0190) is within the limit of 0.0150, but its interval extends above it; add "
            "eval examples (about 1,300 instead of 400, at the same rates) or loosen the limit",
        ),
        (
            {"min_speedup": 3},
            "TFLite int8 speed-up 3.60x (95% interval 3.40x to 3.80x) reaches the required 3.00x",
        ),
        (
            {"min_speedup": 3.5},
            "TFLite int8 speed-up 3.60x (95% interval 3.40x to 3.80x) reaches the required 3.50x, "
            "but its interval extends below it; raise latency.processes or loosen the limit",
        ),
        (
            {"min_speedup": 4},
            "TFLite int8 speed-up 3.60x (95% interval 3.40x to 3.80x) is below the required 4.00x",
        ),
        (
            {"limits": [{"number": "student.ece", "max": 0.025}]},
            "student ECE 0.0300 exceeds the limit of 0.0250",
        ),
        (
            {"limits": [{"number": "student.top_k.3", "min": 0.97}]},
            "student top-3 accuracy 0.9900 (95% interval 0.9740 to 0.9960) reaches the "
            "required 0.9700",
        ),
        (
            {"limits": [{"number": "student.loss", "against": "teacher", "max": 0.08}]},
            "the change in student loss of +0.0200 (teacher 0.0800, student 0.1000; 95% "
            "interval -0.0300 to +0.0700) is within the limit of +0.0800",
        ),
        (
            {
                "limits": [
                    {
                        "number": "student.latency.p99_ms",
                        "against": "teacher",
                        "relative": True,
                        "max": 0.5,
                    }
                ]
            },
            "TFLite int8 p99 latency at 0.292 times the teacher's (teacher 12.000 ms, TFLite int8 "
            "3.500 ms; 95% interval 0.278 to 0.304) is within the limit of 0.500",
        ),
        (
            {"limits": [{"number": "control.accuracy", "min": 0.5}]},
            "the evidence lacks the accuracy of the control, so the limit of 0.5 cannot be checked",
        ),
    ],
)
def test_reasons_are_sentences_with_all_numbers(limits: dict, reason: str) -> None:
    reasons = [check.reason for check in judged(EVIDENCE, **limits).checks if check.counts]
    assert reasons[:1] == [reason]


def test_reasons_name_the_file() -> None:
    result = judged(EVIDENCE, max_tflite_accuracy_drop=0.01, max_size_bytes=100_000)
    assert [check.reason for check in result.checks] == [
        "accuracy does not drop (student 0.9700, TFLite float32 0.9700; 95% interval -0.0060 "
        "to 0.0060); the limit is 0.0100",
        "the accuracy drop of 0.0050 (student 0.9700, TFLite int8 0.9650; 95% interval -0.0040 "
        "to 0.0140) is within the limit of 0.0100, but its interval extends above it; add eval "
        "examples (about 1,300 instead of 400, at the same rates) or loosen the limit",
        "TFLite float32 at 300,000 bytes exceeds the limit of 100,000 bytes",
        "TFLite int8 at 90,000 bytes is within the limit of 100,000 bytes",
    ]
