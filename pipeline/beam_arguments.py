"""`runtime.beam` as the arguments of Beam pipelines."""

from __future__ import annotations

from collections.abc import Callable

from modules.errors import ConfigError
from modules.settings import BeamSettings, Place, RuntimeSettings

# TFX adds what its dependencies lack; a worker in a process of its own has to import it, too.
_PLUGIN = "--beam_plugin=tfx"
# The runner is named, since the default one of recent Beam releases downloads a server first.
IN_MEMORY = (
    "--runner=FnApiRunner",
    "--direct_running_mode=in_memory",
    "--direct_num_workers=1",
    # Nobody pulls it. Where no image is named, every node packs TFX for workers that there are not.
    "--sdk_container_image=unused",
)


def beam_settings(runtime: RuntimeSettings, place: Place) -> BeamSettings:
    """`runtime.beam` of a place, or the defaults."""
    return runtime.beam.get(place, BeamSettings())


def beam_arguments(runtime: RuntimeSettings, place: Place, pipeline_root: str) -> list[str]:
    """The arguments of every Beam node.

    Args:
      runtime: Its `beam` is obeyed; Dataflow also needs `vertex` and `image`.
      place: Where the nodes run.
      pipeline_root: Dataflow keeps its temporary files below it.

    Raises:
      ConfigError: What the runner needs is not set.
    """
    settings = beam_settings(runtime, place)
    build: dict[str, Callable[..., list[str]]] = {
        "in_memory": _in_one_process,
        "multi_processing": _in_processes,
        "dataflow": _on_dataflow,
        "flink": _on_a_cluster,
        "spark": _on_a_cluster,
        "portable": _on_a_cluster,
    }
    key = f"runtime.beam.{place}"
    arguments = build[settings.runner](settings, runtime, key, pipeline_root)
    # argparse takes the last of several, so the user's own have the last word.
    return [*arguments, *settings.options]


def _in_one_process(*_: object) -> list[str]:
    return list(IN_MEMORY)


def _in_processes(settings: BeamSettings, *_: object) -> list[str]:
    return [
        # FnApiRunner does the work, but asked for by name it tells its workers of no plugin. The
        # second argument keeps DirectRunner from downloading Prism and running there instead.
        "--runner=DirectRunner",
        "--allow_unsafe_triggers",
        "--direct_running_mode=multi_processing",
        f"--direct_num_workers={settings.workers or 0}",  # 0: one per core
        _PLUGIN,
    ]


def _on_dataflow(
    settings: BeamSettings, runtime: RuntimeSettings, key: str, pipeline_root: str
) -> list[str]:
    vertex = runtime.vertex
    for name, value in (
        ("runtime.vertex.project", vertex.project),
        ("runtime.vertex.region", vertex.region),
        ("runtime.image", runtime.image),
    ):
        if not value:
            raise ConfigError(f"{key}.runner is dataflow, which needs {name}; set it")
    if not pipeline_root.startswith("gs://"):
        raise ConfigError(
            f"{key}.runner is dataflow, which keeps its files below the pipeline root: that must "
            f"be gs://BUCKET/PATH, got {pipeline_root!r}; set runtime.pipeline_root"
        )
    arguments = [
        "--runner=DataflowRunner",
        f"--project={vertex.project}",
        f"--region={vertex.region}",
        f"--temp_location={pipeline_root.rstrip('/')}/_beam",
        "--experiments=use_runner_v2",
        f"--sdk_container_image={runtime.image}",
        # The image has Beam; without this the submitting node would download it once more.
        "--sdk_location=container",
        _PLUGIN,
    ]
    if vertex.service_account:
        arguments.append(f"--service_account_email={vertex.service_account}")
    if settings.workers:
        arguments.append(f"--max_num_workers={settings.workers}")
    return arguments


def _on_a_cluster(settings: BeamSettings, runtime: RuntimeSettings, *_: object) -> list[str]:
    runner = {"flink": "FlinkRunner", "spark": "SparkRunner", "portable": "PortableRunner"}
    arguments = [f"--runner={runner[settings.runner]}", _PLUGIN]
    if runtime.image:
        # Without it, TFX would have every worker install TFX once more, with other dependencies.
        arguments.append(f"--sdk_container_image={runtime.image}")
    if runtime.image and not any(
        option.startswith(("--environment_type=", "--environment_config="))
        for option in settings.options
    ):
        arguments += ["--environment_type=DOCKER", f"--environment_config={runtime.image}"]
    if settings.workers:
        arguments.append(
            f"--parallelism={settings.workers}"
            if settings.runner == "flink"
            else f"--sdk_worker_parallelism={settings.workers}"
        )
    return arguments
