"""Builds and pushes the image that a pipeline runs in."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from modules.errors import ConfigError, UserError
from pipeline.config import PipelineConfig

SCRIPT = Path("tools/image.sh")  # what `make image` runs


def build_image(config: PipelineConfig | None) -> str:
    """Builds the image from the checkout in the working directory, and pushes it.

    The repository is that of `runtime.image`; the tag is the version and the commit.

    Returns:
      The image by its tag.

    Raises:
      UserError: There is no checkout or no Docker, or it fails.
    """
    if config is None or not config.runtime.image:
        raise ConfigError(
            "--build_image needs runtime.image, whose repository it pushes to; set it in the "
            "configuration that --pipeline_path names, or with --set runtime.image=…"
        )
    if not SCRIPT.is_file():
        raise ConfigError(
            f"--build_image needs {SCRIPT}, and {Path.cwd()} has none; give the command where "
            "this project is checked out"
        )
    builder = next(filter(_answers, ("docker", "podman")), None)
    if builder is None:
        raise UserError(
            "--build_image needs docker or podman, and neither is here and running; build and "
            "push the image elsewhere, name it with runtime.image and leave the option out"
        )
    repository = re.sub(r"(@sha256:[0-9a-f]+|:[\w.-]+)$", "", config.runtime.image)
    on_gpu = any(role.accelerator for role in config.runtime.resources.values())
    built = _output([f"./{SCRIPT}", repository, "cuda" if on_gpu else "cpu"])
    image = built.strip().rpartition("\n")[2].removeprefix("image: ")
    _output([builder, "push", image])
    return image


def _answers(builder: str) -> bool:
    """As the script finds out which one to use."""
    if not shutil.which(builder):
        return False
    return subprocess.run([builder, "info"], capture_output=True).returncode == 0


def _output(command: list[str]) -> str:
    """What a command prints on stdout; it is shown, too, but is no part of our answer."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    sys.stderr.write(done.stdout)
    if done.returncode:
        raise UserError(
            f"--build_image: `{' '.join(command)}` must succeed, and ends with exit code "
            f"{done.returncode}; what it has written is above"
        )
    return done.stdout
