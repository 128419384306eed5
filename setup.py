"""Makes tfx-distill installable: for `make`, for container images and for Beam's workers."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def install_requires() -> list[str]:
    """The names of requirements.in above its development tools."""
    runtime, marker, _ = (HERE / "requirements.in").read_text().partition("# -- development --")
    if not marker:
        raise ValueError("requirements.in must have a line `# -- development --`")
    lines = (line.partition("#")[0].strip() for line in runtime.splitlines())
    return [line for line in lines if line]


setup(
    name="tfx-distill",
    version="0.1.0",
    description="Knowledge distillation on TFX: a small student, judged against its teacher",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.14",
    packages=find_packages(
        include=[
            f"{name}{below}"
            for name in ("tfx_distill", "pipeline", "components", "modules")
            for below in ("", ".*")
        ]
    ),
    package_data={
        "pipeline": ["presets/*.yaml"],
        "modules.data": ["embedded/*"],
        "modules.report": ["templates/*"],
    },
    install_requires=install_requires(),
    # For the builder keras_hub_backbone; for a teacher that is an ONNX file.
    extras_require={"hub": ["keras-hub"], "onnx": ["onnxruntime"]},
    entry_points={"console_scripts": ["tfx-distill = pipeline.cli.main:main"]},
)
