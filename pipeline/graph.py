"""The pipeline's only graph. It knows no orchestrator: runners give it their places."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tfx.components import StatisticsGen, Transform
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import pusher_pb2
from tfx.types import channel_utils

from components.code_digest import code_digest
from components.distiller import Distiller
from components.evaluator.component import Evaluator
from components.example_gen.component import example_gen
from components.example_validator import ExampleValidator
from components.exporter.component import Exporter
from components.pusher.component import Pusher
from components.schema_gen import SchemaGen
from components.soft_targets.component import SoftTargets
from components.teacher_trainer import TeacherTrainer, Training, module_file
from components.tuner import Tuner
from pipeline.config import PipelineConfig


@dataclass(frozen=True)
class Places:
    """Where a runner keeps things.

    Attributes:
      pipeline_root: Of the artifacts.
      push_destination: Of blessed students, unless `push.destination` names another.
      metadata: TFX's metadata connection; None where the orchestrator brings its own.
    """

    pipeline_root: str
    push_destination: str
    metadata: Any = None


def create_pipeline(config: PipelineConfig, places: Places) -> Pipeline:
    """The graph of an experiment: data, teacher, student, control, judgement, push."""
    digest = code_digest()
    data = config.data
    examples = example_gen(data, digest)
    statistics = StatisticsGen(examples=examples.outputs["examples"])
    schema = SchemaGen(
        statistics=statistics.outputs["statistics"],
        infer_feature_shape=True,
        # What is odd in eval alone must not become part of what is expected.
        exclude_splits=["eval"],
    )
    validator = ExampleValidator(
        statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"]
    )
    transform = Transform(
        examples=examples.outputs["examples"],
        schema=schema.outputs["schema"],
        module_file=module_file("preprocessing"),
        custom_config={
            "image_size": data.image_size,
            "channels": data.channels,
        },
        disable_statistics=True,
    )
    # Nothing is trained on data that the validator refuses.
    transform.add_upstream_node(validator)

    training = Training(
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        data=data,
        augment=config.augment,
        views=0,
        runtime=config.runtime,
        seed=config.seed,
    )
    # Student and control see what the cached knowledge is about; the teacher is not bound to it.
    cached_views = config.augment.active and config.distill.knowledge == "cached"
    taught_views = config.distill.views if cached_views else 0
    student_training = replace(training, views=taught_views)
    teachers = [TeacherTrainer(model=config.teacher, training=training)]
    for index, settings in enumerate(config.more_teachers):
        another = TeacherTrainer(model=settings, training=training)
        teachers.append(another.with_id(f"TeacherTrainer_{index + 2}"))
    taught = [teacher.outputs["model"] for teacher in teachers]
    everything_taught = taught[0] if len(taught) == 1 else channel_utils.union(taught)
    knowledge = (
        [
            SoftTargets(
                examples=training.examples,
                teachers=everything_taught,
                distill=config.distill,
                augment=config.augment,
                data=data,
                seed=config.seed,
                code_digest=digest,
            )
        ]
        if config.distill.knowledge == "cached"
        else []
    )
    taught_student: dict[str, Any] = {
        "training": student_training,
        "model": config.student,
        "distill": config.distill,
        "teachers": everything_taught,
        "teacher_weights": [config.teacher.weight, *(t.weight for t in config.more_teachers)],
        "soft_targets": knowledge[0].outputs["soft_targets"] if knowledge else None,
    }
    tuner = [Tuner(**taught_student, tune=config.tune)] if config.tune else []
    winner = tuner[0].outputs["best_hyperparameters"] if tuner else None
    student = Distiller(**taught_student, hyperparameters=winner)
    # The same student without its teacher: what it lacks, distillation has brought.
    control = (
        [
            TeacherTrainer(
                model=config.student, training=student_training, hyperparameters=winner
            ).with_id("Control")
        ]
        if config.distill.control
        else []
    )
    exporter = Exporter(
        model=student.outputs["model"],
        teacher_model=taught[0],
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        export=config.export,
        data=data,
        code_digest=digest,
    )
    evaluator = Evaluator(
        examples=examples.outputs["examples"],
        transformed_examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        model=student.outputs["model"],
        baseline_model=taught[0],
        control_model=control[0].outputs["model"] if control else None,
        tflite=exporter.outputs["tflite"],
        config=config.model_dump_json(),
        code_digest=digest,
    )
    pusher = Pusher(
        model=student.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        tflite=exporter.outputs["tflite"],
        evaluation=evaluator.outputs["evaluation"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(
                base_directory=config.push.destination or places.push_destination
            )
        ),
        tflite_variant=config.push.tflite,
        code_digest=digest,
    )
    return Pipeline(
        pipeline_name=config.name,
        pipeline_root=places.pipeline_root,
        components=[
            examples,
            statistics,
            schema,
            validator,
            transform,
            *teachers,
            *knowledge,
            *tuner,
            student,
            *control,
            exporter,
            evaluator,
            pusher,
        ],
        enable_cache=True,
        metadata_connection_config=places.metadata,
        beam_pipeline_args=list(config.runtime.beam),
    )
