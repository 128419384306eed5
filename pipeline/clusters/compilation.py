"""Compiles the pipeline for Kubeflow Pipelines and for Vertex AI Pipelines.

TFX translates the graph. What it leaves out is added to its result: resources, retries, timeouts,
what must not be cached, the defaults of run parameters. The code is that of the image: no wheel is
built, and nothing is written anywhere.
"""

from __future__ import annotations

import json
import os
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx.components.trainer.component import Trainer
from tfx.dsl.io import fileio
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import (
    KubeflowV2DagRunner,
    KubeflowV2DagRunnerConfig,
)
from tfx.orchestration.pipeline import Pipeline
from tfx.types import standard_component_specs
from tfx.utils import name_utils

from components.run_parameters import RUN_PARAMETERS
from modules.data.sources.registry import files_base
from modules.settings import RuntimeSettings
from pipeline.beam_arguments import beam_arguments, beam_settings
from pipeline.clusters import custom_job, resources
from pipeline.clusters.engines import Engine, check_engine, is_custom_job
from pipeline.config import PipelineConfig
from pipeline.graph import Places, create_pipeline, uncached_nodes

_COMMAND = ["python", "-m", "pipeline.clusters.container"]
_CUSTOM_CONFIG = standard_component_specs.CUSTOM_CONFIG_KEY


def compile_pipeline(
    config: PipelineConfig, engine: Engine, *, allow_mutable_image: bool = False
) -> str:
    """The text of the file that an engine is given; the same for the same configuration.

    `pipeline.clusters.engines.cautions` has what is worth a warning.

    Args:
      config: The experiment; `runtime.image` and `runtime.pipeline_root` must be set.
      engine: kubeflow: YAML of a pipeline spec 2.1 and, if there are rules for where containers
        may be placed, of a platform spec. vertex: JSON of a PipelineJob.
      allow_mutable_image: Accept an image whose tag is `latest`, or that has none.

    Raises:
      ConfigError: What the engine cannot run.
    """
    check_engine(config, engine, allow_mutable_image=allow_mutable_image)
    runner = ClusterRunner(config, engine)
    runner.run(engine_pipeline(config, engine), write_out=False)
    return runner.text


def engine_pipeline(config: PipelineConfig, engine: Engine) -> Pipeline:
    """The graph with the places of an engine, its run parameters left open."""
    places = _places(config, engine)
    parameters = {
        name: RuntimeParameter(name=name, ptype=RUN_PARAMETERS[name].type, default=value)
        for name, value in _defaults(config, places).items()
    }
    return create_pipeline(config, places, parameters)


class ClusterRunner(KubeflowV2DagRunner):
    """TFX's runner for both engines, which completes what TFX compiles.

    Attributes:
      text: Of the compiled file.
    """

    def __init__(self, config: PipelineConfig, engine: Engine):
        super().__init__(
            KubeflowV2DagRunnerConfig(
                default_image=config.runtime.image,
                default_commands=_COMMAND,
                use_pipeline_spec_2_1=True,
            ),
            output_filename=f"{config.name}.{'yaml' if engine == 'kubeflow' else 'json'}",
        )
        self._experiment, self._engine = config, engine
        self.text = ""

    def run(
        self,
        pipeline: Pipeline,
        parameter_values: dict[str, Any] | None = None,
        write_out: bool | None = True,
    ) -> dict[str, Any]:
        """Compile `engine_pipeline`; the `tfx` command may have set another image and directory.

        Returns:
          The PipelineJob as a dictionary.
        """
        config, engine = self._experiment, self._engine
        job = super().run(pipeline, parameter_values, write_out=False)
        spec = json_format.ParseDict(job["pipelineSpec"], pipeline_spec_pb2.PipelineSpec())
        spec.default_pipeline_root = pipeline.pipeline_info.pipeline_root
        _set_defaults(spec, _defaults(config, _places(config, engine)))
        _set_caching(spec, config, engine)
        _set_resources(spec, config, engine)
        if is_custom_job(config.runtime.resources_of("trainer"), engine):
            runtime = config.runtime.model_copy(update={"image": self._config.default_image})
            _train_in_custom_jobs(spec, pipeline, config.name, runtime)
        job["pipelineSpec"] = json_format.MessageToDict(spec)
        self.text = _json_text(job) if engine == "vertex" else _yaml_text(spec, config)
        if write_out:
            fileio.makedirs(self._output_dir)
            with fileio.open(os.path.join(self._output_dir, self._output_filename), "w") as file:
                file.write(self.text)
        return dict(job)


def _places(config: PipelineConfig, engine: Engine) -> Places:
    root = str(config.runtime.pipeline_root)
    return Places(
        pipeline_root=root,
        push_destination=f"{root.rstrip('/')}/pushed",
        beam_arguments=beam_arguments(config.runtime, engine, root),
        beam_soft_targets=beam_settings(config.runtime, engine).soft_targets,
    )


def _json_text(job: dict[str, Any]) -> str:
    return json.dumps(job, indent=2, sort_keys=True) + "\n"


def _yaml_text(spec: pipeline_spec_pb2.PipelineSpec, config: PipelineConfig) -> str:
    content = json_format.MessageToDict(spec)
    executors = {
        component.executor_label: config.runtime.resources_of(resources.role_of(name))
        for name, component in spec.components.items()
    }
    platform = resources.kubernetes_platform(executors)
    return yaml.safe_dump_all([content, platform] if platform else [content], sort_keys=True)


def _defaults(config: PipelineConfig, places: Places) -> dict[str, Any]:
    """The run parameters of this experiment, and what the configuration says of them."""
    values = {
        "data_path": files_base(config.data),
        "temperature": config.distill.temperature,
        "alpha": config.distill.alpha,
        "epochs": config.student.train.epochs,
        "push_destination": config.push.destination or places.push_destination,
    }
    return {name: value for name, value in values.items() if value is not None}


def _set_defaults(spec: pipeline_spec_pb2.PipelineSpec, defaults: dict[str, Any]) -> None:
    for name, value in defaults.items():
        parameter = spec.root.input_definitions.parameters[name]
        parameter.is_optional = True
        parameter.description = f"instead of {RUN_PARAMETERS[name].key}"
        if isinstance(value, str):
            parameter.default_value.string_value = value
        else:
            parameter.default_value.number_value = value


def _set_caching(
    spec: pipeline_spec_pb2.PipelineSpec, config: PipelineConfig, engine: Engine
) -> None:
    uncached = uncached_nodes(config)
    if engine == "kubeflow" and config.data.external_path:
        # There nothing looks at the files before the cache does; TFX's driver is not run.
        uncached.add("ExampleGen")
    for name in uncached:
        spec.root.dag.tasks[name].caching_options.enable_cache = False


def _set_resources(
    spec: pipeline_spec_pb2.PipelineSpec, config: PipelineConfig, engine: Engine
) -> None:
    deployment = json_format.ParseDict(
        json_format.MessageToDict(spec.deployment_spec),
        pipeline_spec_pb2.PipelineDeploymentConfig(),
    )
    for name, task in spec.root.dag.tasks.items():
        settings = config.runtime.resources_of(resources.role_of(name))
        executor = deployment.executors[spec.components[name].executor_label]
        resources.set_retries(task, settings, engine)
        resources.set_resources(executor.container, settings, engine)
        resources.set_timeout(executor.container, settings)
    spec.deployment_spec.Clear()
    spec.deployment_spec.update(json_format.MessageToDict(deployment))


def _train_in_custom_jobs(
    spec: pipeline_spec_pb2.PipelineSpec, pipeline: Pipeline, name: str, runtime: RuntimeSettings
) -> None:
    """Let the Trainers' containers start CustomJobs, which have the resources instead of them."""
    launcher = name_utils.get_full_name(custom_job.Executor)
    for component in pipeline.components:
        if not isinstance(component, Trainer):
            continue
        label = spec.components[component.id].executor_label
        container = spec.deployment_spec["executors"][label]["container"]
        executor = name_utils.get_full_name(component.executor_spec.executor_class)
        container["args"] = [
            launcher if argument == executor else argument for argument in container["args"]
        ]
        container["command"] = _COMMAND
        if "resources" in container:
            del container["resources"]
        value = spec.root.dag.tasks[component.id].inputs.parameters[_CUSTOM_CONFIG]
        value.runtime_value.constant.string_value = custom_job.with_custom_job(
            value.runtime_value.constant.string_value, executor, name, runtime
        )
