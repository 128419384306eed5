"""The registry of sources."""

import subprocess
import sys

import pytest
from checkout import ROOT

from modules.data.sources import registry
from modules.data.sources.digits import Digits
from modules.data.sources.image_folder import ImageFolder
from modules.errors import ConfigError
from modules.settings import DataSettings


def test_sources_are_opened_by_their_names(tmp_path):
    assert isinstance(registry.open_source(DataSettings()), Digits)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    opened = registry.open_source(DataSettings(source="image_folder", path=str(tmp_path)))
    assert opened == ImageFolder(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "hint"), [("image_foldr", "; did you mean 'image_folder'?"), ("mnist", "")]
)
def test_an_unknown_source_is_refused(name, hint):
    for use in (registry.check_source, registry.open_source):
        with pytest.raises(ConfigError) as caught:
            use(DataSettings(source=name))
        assert str(caught.value) == (
            f"data.source must be one of {', '.join(registry.SOURCES)}, got {name!r}{hint}"
        )


def test_what_a_source_cannot_use_is_refused():
    with pytest.raises(ConfigError, match=r"data\.path must be set"):
        registry.check_source(DataSettings(source="image_folder"))


def test_checking_a_configuration_is_light():
    code = (
        "from modules.data.sources.registry import check_source; import sys;"
        "from modules.settings import DataSettings; check_source(DataSettings());"
        "sys.exit(str(sorted({'tensorflow', 'sklearn', 'numpy', 'fsspec'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr.strip() == "[]"
