"""What a feature kind decides, and what it is told about its feature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from modules.data.spec import InputSpec
from modules.settings import FeatureSettings


@dataclass(frozen=True)
class FeatureStatistics:
    """What StatisticsGen counted of one raw feature in the training split.

    Attributes:
      name: The feature.
      type: `integer`, `float` or `string` (text and bytes alike).
      examples: Number of training examples.
      missing: How many of them have no value, or NaN.
      fewest_values: Least number of values of an example that has any.
      most_values: Greatest number.
      unique: Number of different values of a string; of many an estimate.
      average_length: Of strings, in bytes.
      common: The most frequent strings, the first ones first.
      mean: Of numbers, as the next four.
      deviation: Standard deviation.
      minimum: Least number.
      maximum: Greatest number.
      quantiles: Bounds of parts with equally many examples, ascending.
    """

    name: str
    type: str
    examples: int
    missing: int = 0
    fewest_values: int = 1
    most_values: int = 1
    unique: int = 0
    average_length: float = 0.0
    common: tuple[str, ...] = ()
    mean: float = 0.0
    deviation: float = 0.0
    minimum: float = 0.0
    maximum: float = 0.0
    quantiles: tuple[float, ...] = ()

    @property
    def constant(self) -> bool:
        """Whether all examples have the same value, so that nothing can be learnt from it."""
        if self.missing:
            return self.missing == self.examples
        if self.most_values > 1:
            return False
        return self.unique == 1 if self.type == "string" else self.minimum == self.maximum


class FeatureKind(Protocol):
    """One kind; `settings` are always of the kind's own class."""

    def inputs(self, settings: FeatureSettings, found: FeatureStatistics) -> list[InputSpec]:
        """The inputs that are made of a feature; vocabulary sizes are set after Transform.

        Raises:
          DataError: The feature cannot be of this kind.
        """

    def transform(self, raw: Any, settings: FeatureSettings, made: list[InputSpec]) -> dict:
        """The transformed features by name, within Transform's preprocessing function.

        Args:
          raw: `[b, k]`, or a `tf.SparseTensor` where examples have different numbers of values.
          settings: Of the feature.
          made: What `inputs` returned.
        """

    def stored(self, spec: InputSpec) -> Any:
        """The `tf.io.FixedLenFeature` of an input in the transformed examples."""

    def decode(self, values: Any, spec: InputSpec) -> Any:
        """Parsed values `[b, ...]` as a model takes them."""
