"""The study's data that are not in the project: tables, written where a run finds them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

# Dollars between which the price of a diamond is one class; about an eighth of the rows in each.
PRICES = (700, 1000, 1500, 2500, 4000, 5500, 9000)


def write_table(name: str, directory: Path) -> None:
    """Write `<name>.parquet` of `cancer` or `diamonds`."""
    rows = {"cancer": _cancer, "diamonds": _diamonds}[name]()
    pq.write_table(rows, directory / f"{name}.parquet")


def _cancer() -> pa.Table:
    """Cells under the microscope: thirty numbers, and whether the tumor is malignant."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    columns = {
        name.replace(" ", "_"): values
        for name, values in zip(data.feature_names, data.data.T, strict=True)
    }
    return pa.table(columns | {"diagnosis": data.target_names[data.target].tolist()})


def _diamonds() -> pa.Table:
    """The price of a diamond as one of eight classes."""
    from modules.data.sources.embedded import locate

    table = pq.read_table(locate("embedded:diamonds.parquet"))
    classes = np.searchsorted(PRICES, table["price"].to_numpy(), side="right")
    names = pa.array([f"class_{number}" for number in classes])
    return table.drop_columns(["price"]).append_column("price_class", names)
