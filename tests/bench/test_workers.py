"""The cost of many examples: a fixed part and one that grows."""

import pytest

from bench import data, workers


def found(seconds):
    return {node: {"seconds": seconds, "cpu_seconds": seconds} for node in data.NODES}


def test_many_examples_cost_what_two_sizes_say():
    """2 s for a node, and 1 s for 10,000 examples."""
    assert workers.cost(3, 12) == pytest.approx(2 + 10_000)


def test_the_table_compares_what_grows():
    results = {
        "table/10000/1": found(3),
        "table/10000/2": found(12),
        "table/100000/1": found(12),
        "table/100000/2": found(18),
    }
    row = next(line for line in workers.table(results).splitlines() if "ExampleGen" in line)
    assert row == "| table | ExampleGen | 3 s | 12 s | 12 s | 18 s | 1.5 | 2.8 h |"
    # Data of which a part is missing has no rows.
    assert "images" not in workers.table(results | {"images/10000/1": found(1)})
