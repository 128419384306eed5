"""What README and docs tell people to write and to type is accepted; their links lead somewhere."""

import re
import shlex

import click
import pytest
import yaml
from checkout import ROOT

from pipeline.cli.main import main
from pipeline.cli.servers import CommandOrGroup
from pipeline.clusters.engines import check_engine
from pipeline.config import load_config

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
# A configuration has these; the excerpts in the docs say what comes besides.
REST = {
    "name": "flowers",
    "data": {"source": "digits"},
    "teacher": {"model": "resnet_small"},
    "student": {"model": "cnn_small"},
    "gate": {"min_accuracy": 0.5},
}
NAMES = {"REGION": "europe-west4", "PROJECT": "acme", "BUCKET": "bucket", "COMMIT": "0123abc"}


def blocks(page, language=""):
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


def commands():
    """The `tfx-distill` commands of all pages; placeholders in brackets are left out."""
    for page in PAGES:
        for block in blocks(page):
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("tfx-distill ") and "[" not in line:
                    words = shlex.split(line, comments=True)
                    yield pytest.param(words[1:], id=f"{page.name}: {' '.join(words)}"[:90])


@pytest.mark.parametrize("words", commands())
def test_commands_and_their_options_exist(words):
    command, given = main, list(words)
    while given:
        # `run` is a command with a group behind it.
        group = command.group if isinstance(command, CommandOrGroup) else command
        if not isinstance(group, click.Group) or given[0] not in group.commands:
            break
        command = group.commands[given.pop(0)]
    assert command is not main, words
    options = [each for each in command.params if isinstance(each, click.Option)]
    known = {name for each in options for name in (*each.opts, *each.secondary_opts)}
    used = {word.partition("=")[0] for word in given if word.startswith("-")}
    assert used <= known
    assert all(used & set(each.opts) for each in options if each.required)


@pytest.mark.parametrize("engine", ["kubeflow", "vertex"])
def test_configurations_are_valid_on_their_engine(engine, tmp_path):
    """The first excerpt of the page is whole; what follows continues it at its end."""
    first, *more = blocks(ROOT / "docs" / f"{engine}.md", "yaml")
    for excerpt in (first, *(first + each for each in more)):
        check_engine(configuration(excerpt, tmp_path), engine)


def configuration(excerpt, directory):
    for placeholder, value in NAMES.items():
        excerpt = re.sub(rf"\b{placeholder}\b", value, excerpt)
    file = directory / "flowers.yaml"
    file.write_text(yaml.safe_dump(REST | yaml.safe_load(excerpt)))
    return load_config(str(file))


def test_beam_settings_are_valid(tmp_path):
    seen = set()
    for excerpt in blocks(ROOT / "docs" / "beam.md", "yaml"):
        if "runner:" not in excerpt:
            continue
        if not excerpt.startswith("runtime:"):
            excerpt = f"runtime:\n  beam:\n    kubeflow:\n{excerpt}"
        settings = configuration(excerpt, tmp_path).runtime.beam
        seen |= {each.runner for each in settings.values()}
    assert seen == {"multi_processing", "dataflow", "portable", "flink", "spark"}


def anchors(page):
    """GitHub's anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            linked = (page.parent / path) if path else page
            assert linked.exists(), target
            assert not anchor or anchor in anchors(linked), target
