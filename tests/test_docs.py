"""What README and docs tell people to write and to type is accepted; their links lead somewhere."""

import inspect
import re
import shlex

import click
import pytest
import yaml
from checkout import ROOT
from pages import PAGES, blocks

from modules.distill.methods import METHODS
from modules.models.zoo import BUILDERS
from pipeline.cli.main import main
from pipeline.cli.servers import CommandOrGroup
from pipeline.clusters.engines import check_engine
from pipeline.config import load_config
from pipeline.config_reference import reference

# A configuration has these; the excerpts in the docs say what comes besides.
REST = {
    "name": "flowers",
    "data": {"source": "digits"},
    "teacher": {"model": "resnet_small"},
    "student": {"model": "separable_cnn"},
    "gate": {"min_accuracy": 0.5},
}
NAMES = {"REGION": "europe-west4", "PROJECT": "acme", "BUCKET": "bucket", "COMMIT": "0123abc"}


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


@pytest.mark.parametrize(
    "name", ["your-data", "teachers", "models", "methods", "judgment", "pushing", "serving"]
)
def test_configurations_of_the_guides_are_valid(name, tmp_path):
    excerpts = blocks(ROOT / "docs" / f"{name}.md", "yaml")
    assert excerpts
    for excerpt in excerpts:
        configuration(excerpt, tmp_path)


def test_the_reference_is_what_the_settings_say():
    assert (ROOT / "docs" / "configuration.md").read_text() == reference()


def rows(page):
    """The cells of a page's table rows."""
    lines = [line for line in page.read_text().splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_method_is_listed_with_its_weight_and_settings():
    listed = {
        name.strip("`"): (float(weight), dict(re.findall(r"`(\w+)` ([\d.]+)", settings)))
        for name, _, weight, settings in rows(ROOT / "docs" / "methods.md")
    }
    assert listed == {
        name: (method.weight, {key: f"{value:g}" for key, value in method.settings.items()})
        for name, method in METHODS.items()
    }


def test_every_model_is_listed_with_its_parameters_and_defaults():
    listed = {
        name.strip("`"): [yaml.safe_load(each) for each in re.findall(r"`([^`]+)`", parameters)]
        for name, _, parameters in rows(ROOT / "docs" / "models.md")
    }
    assert listed == {name: _parameters(builder) for name, builder in BUILDERS.items()}


def _parameters(builder):
    """`{name: default}` of each parameter of the user's; the bare name of a required one."""
    return [
        name
        if parameter.default is parameter.empty
        else {name: list(default) if isinstance(default := parameter.default, tuple) else default}
        for name, parameter in list(inspect.signature(builder).parameters.items())[2:]
    ]


def test_every_page_is_reached_from_the_first_one():
    linked = set(re.findall(r"\]\(docs/([\w-]+\.md)\)", (ROOT / "README.md").read_text()))
    assert linked == {page.name for page in PAGES[1:]}


def test_paths_of_the_code_exist():
    """Those that the pages name in backticks, such as `modules/errors.py`."""
    pages = [*PAGES, ROOT / "CONTRIBUTING.md"]
    rooms = "pipeline|components|modules|tests|notebooks|bench|tools|docs"
    for page in pages:
        for path in re.findall(rf"`((?:{rooms})/[\w./-]*)`", page.read_text()):
            assert (ROOT / path).exists(), f"{page.name}: {path}"


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
