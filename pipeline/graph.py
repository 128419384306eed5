"""The pipeline's only graph. It knows no orchestrator: runners give it their places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from tfx.components import StatisticsGen
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.common.resolver import Resolver
from tfx.orchestration.pipeline import Pipeline
from tfx.types import BaseChannel, Channel, standard_artifacts

from components.answer_collector import AnswerCollector
from components.brought_teachers import BroughtTeacher
from components.distiller import Distiller
from components.evaluator.component import Evaluator, EvaluatorInputs
from components.example_gen.component import example_gen
from components.example_validator.component import EarlierStatistics, ExampleValidator
from components.exporter.component import Exporter
from components.pusher.component import Pusher
from components.run_parameters import Parameters
from components.schema_gen import SchemaGen
from components.search import Search
from components.soft_targets.component import SoftTargets
from components.teacher_importer import TeacherImporter
from components.teacher_trainer import TeacherTrainer
from components.transform import Transform
from modules.code_digest import code_digest
from modules.distill.training_config import TrainingConfig, assistant_digests
from modules.errors import ConfigError
from modules.input_digest import Memory, data_digest, model_digest
from modules.models.known import KnownModel
from modules.settings import DataSettings, GateSettings, ModelSettings
from pipeline.beam_arguments import IN_MEMORY
from pipeline.config import PipelineConfig

# So fine is the scale `quantile`, and so well known the spread of a logarithm.
_QUANTILES = 100
_SEEDS = 2**32
_UNTAUGHT = {
    "distill": None,
    "views": 0,
    "teacher_weights": (),
    "teacher_models": (),
    "assistant_digests": (),
}


@dataclass(frozen=True)
class Places:
    """Where a runner keeps things.

    Attributes:
      pipeline_root: Of the artifacts.
      push_destination: Of blessed students, unless `push.destination` names another.
      metadata: TFX's metadata connection; None where the orchestrator brings its own.
      beam_arguments: Which Beam runner there is.
      beam_soft_targets: Whether the teachers answer on its workers.
    """

    pipeline_root: str
    push_destination: str
    metadata: Any = None
    beam_arguments: Sequence[str] = IN_MEMORY
    beam_soft_targets: bool = False


def create_pipeline(
    config: PipelineConfig, places: Places, parameters: Parameters = MappingProxyType({})
) -> Pipeline:
    """The graph of an experiment: data, teacher, student, control, judgment, push.

    Args:
      config: The experiment.
      places: Where the runner keeps things.
      parameters: TFX RuntimeParameters by the names of `components.run_parameters`, where the
        runner leaves them open until a run begins.
    """
    digest, memory = code_digest(), Memory(places.pipeline_root)
    data = _data_nodes(config, places, digest, parameters)
    teachers = _teacher_nodes(config, data, memory, digest)
    taught = _training_nodes(
        config, data["Transform"], teachers, places, (digest, memory), parameters
    )
    taught = {node.id: node for node in teachers} | taught
    shipped = _shipping_nodes(config, data, taught, places, digest, parameters)
    return Pipeline(
        pipeline_name=config.name,
        pipeline_root=places.pipeline_root,
        components=[*data.values(), *taught.values(), *shipped],
        enable_cache=True,
        metadata_connection_config=places.metadata,
        beam_pipeline_args=list(places.beam_arguments),
    )


def _data_nodes(
    config: PipelineConfig, places: Places, digest: str, parameters: Parameters
) -> dict[str, BaseNode]:
    """From the source to transformed examples, by node id."""
    # After tfx, which brings what tensorflow_data_validation 1.16 lacks.
    import tensorflow_data_validation as tfdv

    examples = example_gen(config.data, digest, parameters, task=config.task)
    statistics = StatisticsGen(
        examples=examples.outputs["examples"],
        stats_options=tfdv.StatsOptions(num_quantiles_histogram_buckets=_QUANTILES),
    )
    schema = SchemaGen(
        statistics=statistics.outputs["statistics"],
        features={
            "data.features": sorted(config.data.features),
            "data.exclude": config.data.exclude,
        },
        schema_file=config.data.schema_file,
        code_digest=digest,
    )
    earlier = _earlier_statistics(config.data, places)
    validator = ExampleValidator(
        statistics=statistics.outputs["statistics"],
        schema=schema.outputs["schema"],
        checks=config.data.checks,
        code_digest=digest,
        earlier_statistics=earlier[0].outputs["statistics"] if earlier else None,
    )
    transform = Transform(
        examples=examples.outputs["examples"],
        schema=schema.outputs["schema"],
        statistics=statistics.outputs["statistics"],
        data=config.data,
        code_digest=digest + data_digest(config.data),
    )
    # Nothing is trained on data that the validator refuses.
    transform.add_upstream_node(validator)
    nodes = (*earlier, examples, statistics, schema, validator, transform)
    return {node.id: node for node in nodes}


def _earlier_statistics(data: DataSettings, places: Places) -> list[BaseNode]:
    """A node that finds the statistics of earlier runs, if it is needed.

    Raises:
      ConfigError: There is no metadata store of ours to find them in.
    """
    drift = data.checks.drift
    if drift is None or drift.statistics:
        return []
    if places.metadata is None:
        raise ConfigError(
            "data.checks.drift.statistics must be set for runs on a cluster, which cannot find "
            "earlier statistics by themselves; name the directory of an ExampleStatistics artifact"
        )
    found = Channel(
        type=standard_artifacts.ExampleStatistics,
        producer_component_id="StatisticsGen",
        output_key="statistics",
    )
    resolver = Resolver(strategy_class=EarlierStatistics, statistics=found)
    return [resolver.with_id("EarlierStatistics")]


def _teacher_nodes(
    config: PipelineConfig, data: dict[str, BaseNode], memory: Memory, digest: str
) -> list[BaseComponent]:
    """A node for each teacher: trained here, imported, or asked."""
    transform = data["Transform"].outputs
    nodes: list[BaseComponent] = []
    for index, settings in enumerate(config.teachers):
        node: BaseComponent
        key = f"more_teachers.{index - 1}" if index else "teacher"
        if settings.kind == "model":
            node = TeacherTrainer(
                examples=transform["transformed_examples"],
                transform_graph=transform["transform_graph"],
                config=_training_config(
                    config,
                    settings,
                    memory,
                    # Two teachers of one kind would answer the same otherwise.
                    seed=(config.seed + index) % _SEEDS,
                    allow_weak=settings.allow_weak,
                ),
            )
        else:
            brought: dict[str, Any] = {
                "transformed_examples": transform["transformed_examples"],
                "transform_graph": transform["transform_graph"],
                "teacher": BroughtTeacher(
                    settings, key, memory.teacher_digest(settings, key), digest
                ),
            }
            if settings.is_model:
                node = TeacherImporter(**brought)
            else:
                node = AnswerCollector(**brought, examples=data["ExampleGen"].outputs["examples"])
        # Argo, which runs Kubeflow's pipelines, knows no underscore in a node's name.
        nodes.append(node.with_id(f"{node.id}-{index + 1}") if index else node)
    return nodes


def _answer_of(node: BaseComponent) -> BaseChannel:
    """What a teacher's node gives: a model, or answers."""
    return node.outputs["answers" if isinstance(node, AnswerCollector) else "model"]


def _training_nodes(
    config: PipelineConfig,
    transform: BaseNode,
    taught_by: Sequence[BaseComponent],
    places: Places,
    digests: tuple[str, Memory],
    parameters: Parameters,
) -> dict[str, BaseComponent]:
    """The teachers' logits, the search, the student and its control, by node id."""
    channels = {
        "examples": transform.outputs["transformed_examples"],
        "transform_graph": transform.outputs["transform_graph"],
    }
    digest, memory = digests
    nodes: list[BaseComponent] = []
    teachers = [_answer_of(node) for node in taught_by]
    soft_targets = None
    if config.distill.soft_targets == "cached":
        nodes.append(_soft_targets(config, channels, teachers, places, digest))
        soft_targets = nodes[-1].outputs["soft_targets"]
    student = _training_config(
        config,
        config.student,
        memory,
        # A student sees what is cached; teacher and control are not bound to it.
        views=config.distill.views if soft_targets is not None and config.augment.active else 0,
        distill=config.distill,
        assistant_digests=assistant_digests(config.distill, memory),
        unlabeled=True,
        quantization_aware=config.export.quantization == "aware",
        teacher_weights=tuple(each.weight for each in config.teachers),
        teacher_models=[known for known in _known_teachers(config) if known],
        student=_known_student(config) if config.search_plan else None,
    )
    models = [_answer_of(node) for node in taught_by if not isinstance(node, AnswerCollector)]
    taught = {**channels, "teachers": models, "soft_targets": soft_targets}
    given: dict[str, Any] = {"parameters": parameters}
    if plan := config.search_plan:
        searched = student.model_copy(
            update={"search": plan, "baseline": _known_teachers(config)[0]}
        )
        nodes.append(Search(**taught, **given, config=searched))
        given["hyperparameters"] = nodes[-1].outputs["best_hyperparameters"]
    nodes.append(Distiller(**taught, **given, config=student))
    if config.distill.control:
        # The same student without its teacher: what it lacks, distillation has brought.
        alone = student.model_copy(update=_UNTAUGHT)
        nodes.append(TeacherTrainer(**channels, **given, config=alone).with_id("Control"))
    return {node.id: node for node in nodes}


def _soft_targets(
    config: PipelineConfig,
    channels: dict[str, BaseChannel],
    teachers: Sequence[BaseChannel],
    places: Places,
    digest: str,
) -> SoftTargets:
    return SoftTargets(
        **channels,
        teachers=teachers,
        models=_known_teachers(config),
        distill=config.distill,
        augment=config.augment,
        data=config.data,
        seed=config.seed,
        code_digest=digest,
        on_beam=places.beam_soft_targets,
    )


def _known_teachers(config: PipelineConfig) -> list[KnownModel | None]:
    """What later nodes may load; None of a teacher that is no model."""
    return [KnownModel.of(each) if each.is_model else None for each in config.teachers]


def _known_student(config: PipelineConfig) -> KnownModel:
    """What the Exporter may load as the student."""
    plan = config.search_plan
    return KnownModel.of(config.student, plan.students if plan else ())


def _training_config(
    config: PipelineConfig, model: ModelSettings, memory: Memory, **more: Any
) -> TrainingConfig:
    # A student may become any of those that are searched.
    plan = config.search_plan if model == config.student else None
    built = (model, *(plan.students if plan else ()))
    return TrainingConfig(
        model=model,
        builder_digest="-".join(dict.fromkeys(model_digest(each, memory) for each in built)),
        data=config.data,
        augment=config.augment,
        strategy=config.runtime.strategy,
        checkpoint_seconds=config.runtime.checkpoint_seconds,
        **{"seed": config.seed} | more,
    )


def _shipping_nodes(
    config: PipelineConfig,
    data: dict[str, BaseNode],
    taught: dict[str, BaseComponent],
    places: Places,
    digest: str,
    parameters: Parameters,
) -> list[BaseComponent]:
    """TFLite files, the judgment, the push."""
    transform = data["Transform"].outputs
    # The first teacher is the baseline.
    student, teacher = taught["Distiller"].outputs, next(iter(taught.values())).outputs
    control, search = (
        taught[node].outputs if node in taught else {} for node in ("Control", "Search")
    )
    known = _known_teachers(config)
    exporter = Exporter(
        model=student["model"],
        teacher_model=teacher.get("model"),
        examples=transform["transformed_examples"],
        raw_examples=data["ExampleGen"].outputs["examples"],
        transform_graph=transform["transform_graph"],
        models=[_known_student(config), *filter(None, known[:1])],
        export=config.export,
        needed=config.needed_variants,
        data=config.data,
        seed=config.seed,
        code_digest=digest,
    )
    destination = config.push.destination or places.push_destination
    evaluator = Evaluator(
        inputs=EvaluatorInputs(
            examples=data["ExampleGen"].outputs["examples"],
            transformed_examples=transform["transformed_examples"],
            transform_graph=transform["transform_graph"],
            model=student["model"],
            baseline_model=teacher.get("model"),
            teacher_answers=teacher.get("answers"),
            tflite=exporter.outputs["tflite"],
            statistics=data["StatisticsGen"].outputs["statistics"],
            anomalies=data["ExampleValidator"].outputs["anomalies"],
            teacher_run=teacher.get("model_run"),
            student_run=student["model_run"],
            control_model=control.get("model"),
            control_run=control.get("model_run"),
            hyperparameters=search.get("best_hyperparameters"),
            search=search.get("tuner_results"),
        ),
        evaluate=config.evaluate,
        config=config.model_dump_json(),
        compare_with_pushed=destination if _asks_for_pushed(config.gate) else "",
        code_digest=digest,
        parameters=parameters,
    )
    pusher = Pusher(
        model=student["model"],
        model_blessing=evaluator.outputs["blessing"],
        tflite=exporter.outputs["tflite"],
        evaluation=evaluator.outputs["evaluation"],
        push=config.push,
        destination=destination,
        pipeline=config.name,
        code_digest=digest,
        run_destination=parameters.get("push_destination"),
    )
    return [exporter, evaluator, pusher]


def uncached_nodes(config: PipelineConfig) -> set[str]:
    """The ids of the nodes that depend on the push destination, which no cache knows.

    A cached push would report success whatever has since become of the destination. The Pusher
    itself finds out whether its version is still there, and copies nothing if it is. A gate that
    compares with the last pushed student has to look for it every time.
    """
    return {"Pusher"} | ({"Evaluator"} if _asks_for_pushed(config.gate) else set())


def _asks_for_pushed(gate: GateSettings) -> bool:
    return any(limit.against == "pushed" for limit in gate.limits)
