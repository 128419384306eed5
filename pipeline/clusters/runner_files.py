"""What the runner files of clusters share.

The `tfx` command gives a runner file no arguments, so the configuration is named by the
environment. What only a deployment can know is made up, with a warning: the file compiles as it
stands. `tfx-distill compile`, and whatever sends a pipeline, refuses instead.
"""

from __future__ import annotations

import os
from importlib.metadata import version

from pipeline.clusters.engines import Engine, cautions, check_engine
from pipeline.config import PipelineConfig, load_config
from pipeline.terminal.exits import errors_explained
from pipeline.terminal.printable import echo

CONFIG_VARIABLE = "TFX_DISTILL_CONFIG"
_PLACEHOLDER_ROOT = "gs://YOUR_BUCKET/tfx-distill"


def placeholders() -> dict[str, str]:
    """What stands for the keys of `runtime` that a configuration leaves open."""
    return {
        "image": f"tfx-distill:{version('tfx-distill')}",
        "pipeline_root": _PLACEHOLDER_ROOT,
    }


def runner_config(engine: Engine) -> PipelineConfig:
    """The configuration named by TFX_DISTILL_CONFIG, a preset or file, by default digits."""
    config = load_config(os.environ.get(CONFIG_VARIABLE, "digits"))
    missing = {
        key: value for key, value in placeholders().items() if not getattr(config.runtime, key)
    }
    for key, value in missing.items():
        echo(
            f"warning: runtime.{key} is not set, {value} stands in its place; set it in a file "
            f"that {CONFIG_VARIABLE} names",
            err=True,
        )
    runtime = config.runtime.model_copy(update=missing)
    config = config.model_copy(update={"runtime": runtime})
    check_engine(config, engine)
    for sentence in cautions(config, engine):
        echo(f"warning: {sentence}", err=True)
    return config


def compile_here(engine: Engine) -> None:
    """Compile where the `tfx` command says, or in the working directory."""
    with errors_explained():
        config = runner_config(engine)
        from pipeline.clusters.compilation import ClusterRunner, engine_pipeline

        ClusterRunner(config, engine).run(engine_pipeline(config, engine))
