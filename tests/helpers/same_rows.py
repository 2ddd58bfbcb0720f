"""Comparing detections in COCO's results format."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

Row = dict[str, Any]


def assert_same_rows(found: list[Row], expected: list[Row], score: float = 1e-5, box: float = 0.01) -> None:
    """The same detections of the same images, but for rounding.

    Rows go by class and score; those whose scores differ by less than `score` may stand in another order.

    Args:
        score: how much scores may differ.
        box: how many pixels each of x, y, width and height may differ.
    """
    assert len(found) == len(expected)
    parts = [_by_image_and_class(rows) for rows in (found, expected)]
    assert parts[0].keys() == parts[1].keys()
    for key, rows in parts[0].items():
        others = parts[1][key]
        assert len(rows) == len(others), key
        for row in rows:
            differences = [
                max(np.abs(np.subtract(row["bbox"], other["bbox"])).max() / box,
                    abs(row["score"] - other["score"]) / score)
                for other in others
            ]  # fmt: skip
            best = int(np.argmin(differences))
            assert differences[best] < 1, (key, row, others[best])
            others = others[:best] + others[best + 1 :]


def _by_image_and_class(rows: list[Row]) -> dict[tuple[int, int], list[Row]]:
    parts = defaultdict(list)
    for row in rows:
        parts[row["image_id"], row["category_id"]].append(row)
    return parts
