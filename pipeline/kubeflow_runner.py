"""Compiles the pipeline for Kubeflow Pipelines; a runner file like those of the `tfx` command line.

    tfx-distill pipeline create --engine=kubeflow --pipeline_path=pipeline/kubeflow_runner.py

TFX's own `tfx pipeline create --engine=kubeflow` has not worked since TFX 1.16. The environment
variable TFX_DISTILL_CONFIG names a preset or a file, by default digits.
"""

from pipeline.clusters.runner_files import compile_here

if __name__ == "__main__":
    compile_here("kubeflow")
