"""SoftTargets on Beam's workers, each of which loads the teachers once.

A worker answers a whole file of examples, in order and in the same batches as the node's own
process would: so the artifact is the same to the byte, and nothing is shuffled. There is work for
as many workers as there are files; Transform writes one for each bundle of its own workers.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import tensorflow as tf
from apache_beam.utils.shared import Shared
from tfx import types
from tfx.dsl.components.base import base_beam_executor

from components.example_gen.results import take_result, write_result
from components.soft_targets.executor import Job, examples_of
from modules.data.examples import ExampleData
from modules.errors import DataError
from modules.files import LocalCopies
from modules.teachers import soft_targets
from modules.teachers.cache import FileEntry, Layout, write_file

_RESULT = "result.pickle"
_UNFINISHED = ".unfinished-"


class BeamExecutor(base_beam_executor.BaseBeamExecutor):
    """Executor of the SoftTargets component on the workers of Beam's runner."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the artifact as `modules.teachers.cache` describes it.

        Raises:
          ConfigError: `top_k` is not below the number of classes, or there are none.
          DataError: A teacher's answer is not finite.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        job, started = Job.of(input_dict, output_dict, exec_properties), time.monotonic()
        layout = soft_targets.layout_of(job.request, job.spec.output, len(job.teachers))
        data = examples_of(input_dict, job)
        files = [*data.files, *data.unlabeled_files]
        tf.io.gfile.makedirs(job.directory)
        result = os.path.join(job.directory, _RESULT)
        with self._make_beam_pipeline() as pipeline:
            (
                pipeline
                | "Files" >> beam.Create(files)
                # Otherwise a single worker would take all of them.
                | "SpreadFiles" >> beam.Reshuffle()
                | "AnswerFiles" >> beam.ParDo(_AnswerFile(job, layout))
                | "Entries" >> beam.combiners.ToList()
                | "WriteResult" >> beam.Map(write_result, result)
            )
        entries = {entry["source"]: entry for entry in take_result(result)}
        # What workers left behind that were killed.
        for path in tf.io.gfile.glob(os.path.join(job.directory, f"*{_UNFINISHED}*")):
            tf.io.gfile.remove(path)
        for entry in entries.values():
            if "problem" in entry:
                raise DataError(entry["problem"])
        in_order = [entries[file] for file in files]
        soft_targets.finish(job.directory, layout, in_order, time.monotonic() - started)


class _Teachers:
    """The teachers in one worker, with the local files that they read."""

    def __init__(self, job: Job):
        self._copies = LocalCopies()
        self.answers = soft_targets.Answers(
            job.load_teachers(self._copies), ExampleData((), job.spec, job.data), job.request
        )


class _AnswerFile(beam.DoFn):
    """Writes the answers to a file of examples; yields its entry in the manifest.

    A problem with the data is an entry, too: an error in a worker would be tried again, and reach
    the node as a stack trace.
    """

    def __init__(self, job: Job, layout: Layout):
        self._job, self._layout = job, layout
        # A worker's threads have one copy of this function each, but share the teachers.
        self._shared = Shared()

    def setup(self) -> None:
        job = self._job
        self._teachers = self._shared.acquire(lambda: _Teachers(job))

    def process(self, file: str) -> Iterator[FileEntry]:
        try:
            # Two workers may be given the same file, when one of them is thought to be lost.
            yield write_file(
                self._job.directory,
                self._layout,
                file,
                self._teachers.answers.to_file(file),
                suffix=f"{_UNFINISHED}{uuid.uuid4().hex}",
            )
        except DataError as error:
            yield {"source": file, "problem": str(error)}
