"""Commands that answer at once: nothing heavy is imported for them. One process tries them all."""

import json
import os
import subprocess
import sys

from checkout import ROOT

HEAVY = (
    *("tensorflow", "keras", "tfx", "apache_beam", "sklearn"),
    *("kfp", "google.cloud.aiplatform", "kubernetes"),
)
COMMANDS = [
    "--help",
    "run --help",
    "presets",
    "validate digits",
    "validate digits --set distill.alpha=2",
    "run digits --set distill.alpha=2",
    "report nowhere",
    "predict --help",
    "predict --model nowhere image.png",
    "compare --help",
    "compare nowhere nowhere",
    "verify --help",
    "verify nowhere",
    "push --help",
    "push",
    "pipeline --help",
    "run create --help",
    "run list --pipeline_name=a",
    "pipeline create --pipeline_path=digits --engine=vertex",
    "pipeline list --engine=vertex",
    "run create --pipeline_name=a --engine=vertex",
]
PROGRAM = """
import contextlib, io, json, sys
from pipeline.cli.main import main

heavy, commands = json.loads(sys.argv[1])
found = {}
for command in commands:
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        main(command.split())
    loaded = [name for name in heavy if name in sys.modules]
    if loaded:
        found[command] = loaded
        break  # what is loaded stays loaded
print(json.dumps(found))
"""


def test_nothing_heavy_is_imported() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps([HEAVY, COMMANDS])],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert json.loads(done.stdout) == {}, done.stderr
