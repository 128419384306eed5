"""What is compared between data: anomalies, skew and drift."""

from __future__ import annotations

from typing import Literal

from pydantic import (
    Field,
)

from modules.settings.base import PathOrUrl, Settings


class DistanceSettings(Settings):
    """How far the values of a feature may be apart in two sets of examples.

    Texts, ids and images are not compared. A curated schema's own comparators go before `limit`.
    """

    limit: float = Field(
        gt=0, le=1, description="largest Jensen-Shannon divergence of a feature, 0 to 1"
    )
    action: Literal["stop", "warn"] = Field(
        "stop", description="`stop` the run, or `warn` in the log and in the report"
    )


class DriftSettings(DistanceSettings):
    """What today's training examples are compared with."""

    statistics: PathOrUrl | None = Field(
        None,
        description="directory of an ExampleStatistics artifact; null: those of the last span, or "
        "of the last run with other examples, which local runs find by themselves",
    )


class CheckSettings(Settings):
    """What ExampleValidator does about examples that are not as expected."""

    anomalies: Literal["stop", "warn"] = Field(
        "stop", description="where examples do not fit the schema: `stop` the run, or `warn`"
    )
    skew: DistanceSettings | None = Field(
        None, description="compares the splits train and eval; null: not compared"
    )
    drift: DriftSettings | None = Field(
        None, description="compares the split train with that of the last span; null: not compared"
    )
