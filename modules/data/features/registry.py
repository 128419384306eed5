"""The feature kinds by name; a new one is a file, an entry here, its settings and a test."""

from __future__ import annotations

from modules.data.features.category import Category
from modules.data.features.image import Image
from modules.data.features.numeric import Numeric
from modules.data.features.protocol import FeatureKind
from modules.data.features.tensor import Tensor
from modules.data.features.text import Text

KINDS: dict[str, FeatureKind] = {
    "image": Image(),
    "numeric": Numeric(),
    "category": Category(),
    "text": Text(),
    # Of a user's preprocessing_fn; no raw feature is declared to be one.
    "tensor": Tensor(),
}
