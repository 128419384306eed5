"""A Kubeflow Pipelines backend on this machine, to execute compiled pipelines in tests.

    job = kfp_backend.load(Path("pipeline.yaml"))
    backend = kfp_backend.Backend(scratch, image=kfp_backend.Image(environment={...}))
    run = backend.run(job, pipeline_root="/some/directory", parameters={"epochs": 3})
    run.state, run.states, run.tasks["Trainer"].attempts, run.problems()

It reads the compiled file alone, and knows nothing of the pipeline that is in it. Every container
is a process of its own, with the command line, the ExecutorInput and the files that KFP's own
backend would give it. What the file asks for and this package does not do is an error before
anything runs, never left out in silence.

Two backends are followed. Where they differ, `dialect` decides:

                            kubeflow                            vertex
  file                      pipeline spec 2.1 (YAML), a         PipelineJob (JSON)
                            platform document after it
  type of an input          not handed on (`instanceSchema`     as declared
  artifact                  is empty)
  metadata of artifacts     through ML Metadata's types, with   as written
                            display_name and
                            store_session_info added
  executor's output file    on the container's own disk,        beside the outputs
                            beside the copies of the outputs
  log                       a file among the outputs, of the    not among the outputs
                            type system.Artifact, one for
                            each attempt, kept in any case
  files of artifacts        inputs are copied to the            the bucket itself is mounted
                            container's disk; outputs from
                            it, if it succeeds
  lifecycle.preCacheCheck   not run                             run before the cache is asked
  limit of the retries      from the first attempt on, with     pauses alone; an hour if not set
                            running times; none if not set
  after a failed task       nothing more is started             what does not depend on it runs on

"kubeflow" was written after the source of KFP's backend (compiler, driver, launcher) and of Argo
Workflows, which runs its tasks, of August 2026; `kfp_engine` runs the driver and the launcher of
release 2.16.1 themselves, and what they did is recorded and compared. "vertex" is not open source;
it follows the documentation and what TFX and the KFP SDK expect of it.

Faithful to the backend:
  order         a task starts once its dependentTasks have succeeded, `workers` containers at a
                time; ALL_UPSTREAM_TASKS_COMPLETED starts in any case
  parameters    typed, with defaults and literals; numbers are doubles, in a command line without
                exponent
  placeholders  `{{$}}` first and the others in what has come of it, IfPresent, the run's own names
  outputs       `<root>/<pipeline>/<run>/<task>/<random>/<key>`, the same in every attempt, so that
                a later attempt finds what an earlier one has left; output files of parameters; the
                ExecutorOutput, strictly parsed, goes before them
  cache         by inputs (artifacts by id, not by content), types of the outputs, image and command
                line as compiled; per pipeline; cacheKey
  retries       attempts, backoff, its factor and its limit
  importers, nested DAGs, DAG outputs with several selectors, final status of a task

Stricter than the backend: an input must come from one of the dependentTasks, artifact types of
producer and consumer must agree (system.Artifact is any), integers must be whole, a placeholder
that stands for nothing fails the task.

Not the backend's way:
  containers    the image is this Python; a clean environment, empty working directory and home,
                but not a file system of its own, no limits of memory or time, nobody else's user.
                `Image(name=…, volume=…)` has Docker run real ones
  storage       buckets are directories, `Backend.path` says where; what would be /gcs, /s3 and
                /minio in a container is below its own disk. A URI may also be a local path, which
                is then its own `.path`
  metadata      in memory, for as long as the Backend lives; importers always make a new artifact
  placeholders  are filled in by name; the backend's own order is random

Refused: conditions, iterators, lists of artifacts, resolvers, custom jobs, expression selectors,
retries of a DAG, Concat at run time, parameters of schema 2.0.
"""

from kfp_backend.backend import Backend
from kfp_backend.launcher import Attempt, Image
from kfp_backend.records import Run, TaskRecord
from kfp_backend.spec import Job, SpecError, load, parse

__all__ = [
    "Attempt",
    "Backend",
    "Image",
    "Job",
    "Run",
    "SpecError",
    "TaskRecord",
    "load",
    "parse",
]
