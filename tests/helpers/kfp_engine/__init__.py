"""KFP's own driver and launcher, with all they ask for, to execute compiled pipelines in tests.

    with kfp_engine.engine(programs, scratch) as engine:
        tasks = engine.run(job, pipeline_root="s3://bucket/root", parameters={})

`kfp_backend` emulates these two programs; here they run themselves. What a cluster has around them
is a server of ML Metadata (its store over SQLite), an object store (SeaweedFS), two answers of a
Kubernetes API, and Argo Workflows, of which `Engine` does what a DAG of containers needs. Every
pod is a process with a root of its own, in which `/s3` and the like are empty directories.

The programs are not built here. KFP_PROGRAMS names a directory with `driver` and `launcher-v2`.
"""

from kfp_engine.engine import PodFailedError, Task, engine
from kfp_engine.pods import PROGRAMS_VARIABLE, lacking

__all__ = ["PROGRAMS_VARIABLE", "PodFailedError", "Task", "engine", "lacking"]
