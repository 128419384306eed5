"""The public face: what it offers, and what it loads for it."""

import subprocess
import sys

import pytest
from checkout import ROOT

import tfx_distill as td

HEAVY = {"keras", "tensorflow", "tfx", "apache_beam", "scipy", "numpy"}


def test_each_name_is_the_object_that_is_defined_elsewhere():
    from modules.distill import losses
    from modules.distill.distiller import Distiller
    from modules.report.files import read_report
    from pipeline.config import load_config

    assert td.Distiller is Distiller and td.load_config is load_config
    assert td.losses is losses and td.load_report is read_report
    assert dir(td) == sorted(td.__all__) and len(set(td.__all__)) == len(td.__all__)
    for name in td.__all__:
        value = getattr(td, name)
        if name not in ("METHODS", "losses"):
            assert value.__module__.split(".")[0] in ("modules", "pipeline")


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match=r"has no 'Distller'; it offers .*Distiller"):
        _ = td.Distller


def test_nothing_is_loaded_before_it_is_used():
    code = f"""
import sys
heavy = {HEAVY!r}
import tfx_distill as td
print(sorted({{"modules", "pipeline", "pydantic", *heavy}} & set(sys.modules)))
td.load_config("digits"), td.METHODS, td.UserError, td.find_models, td.load_report, td.verify
print(sorted((heavy - {{"numpy"}}) & set(sys.modules)))
td.losses.soft_target_loss
print("keras" in sys.modules, "tfx" in sys.modules)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.stdout.splitlines() == ["[]", "[]", "True False"], result.stderr
