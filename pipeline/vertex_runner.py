"""Compiles the pipeline for Vertex AI Pipelines; a runner file of the `tfx` command line.

    tfx pipeline create --engine=vertex --pipeline_path=pipeline/vertex_runner.py
    tfx run create --engine=vertex --pipeline_name=digits --project=PROJECT --region=REGION

The environment variable TFX_DISTILL_CONFIG names a preset or a file, by default digits.
"""

from pipeline.clusters.runner_files import compile_here

if __name__ == "__main__":
    compile_here("vertex")
