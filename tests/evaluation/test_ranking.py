"""The order of detections: by hand, and against plain loops on random scenes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.ranking import ranking, spearman
from evaluation.truth import Truth


def scene(boxes: list[tuple[int, int, list[float]]], crowd: tuple[int, ...] = ()) -> Any:
    """A truth of (image, category, xywh)."""
    return Truth(
        {
            "images": [{"id": image, "width": 99, "height": 99, "file_name": f"{image}"} for image in (1, 2)],
            "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
            "annotations": [
                {"id": row + 1, "image_id": image, "category_id": category, "bbox": box,
                 "area": box[2] * box[3], "iscrowd": int(row in crowd)}
                for row, (image, category, box) in enumerate(boxes)
            ],
        }
    )  # fmt: skip


def test_by_hand() -> None:
    truth = scene([(1, 1, [0, 0, 10, 10]), (2, 1, [0, 0, 10, 10]), (2, 2, [50, 50, 10, 10])])
    rows = np.array(
        [
            [1, 0, 0, 10, 10, 0.8, 1],  # IoU 1
            [1, 0, 0, 10, 8, 0.4, 1],  # the second of the same object
            [2, 0, 0, 10, 8, 0.9, 1],  # IoU 0.8, of a higher score than the better box of image 1
            [2, 50, 50, 10, 10, 0.9, 1],  # another class
            [2, 50, 50, 10, 4, 0.9, 2],  # IoU 0.4
        ]
    )
    found = ranking(truth, rows)
    assert found == pytest.approx({"found": 2 / 3, "iou": 0.9, "correlation": -1.0, "second": 0.25})


def test_crowds_are_no_objects() -> None:
    rows = np.array([[1, 0, 0, 10, 10, 0.8, 1]])
    boxes = [(1, 1, [0.0, 0.0, 10.0, 10.0]), (1, 2, [0.0, 0.0, 10.0, 10.0])]
    assert ranking(scene(boxes, crowd=(0,)), rows) is None
    assert ranking(scene(boxes, crowd=(1,)), rows) == {
        "found": 1.0, "iou": 1.0, "correlation": None, "second": 0.0,
    }  # fmt: skip


def test_nothing_detected() -> None:
    assert ranking(scene([(1, 1, [0, 0, 10, 10])]), np.zeros((0, 7))) is None


values = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=12)


@given(values)
def test_spearman_is_the_correlation_of_mean_ranks(pairs: list[tuple[int, int]]) -> None:
    def ranks(numbers: list[int]) -> list[float]:
        return [
            sum(other < number for other in numbers) + (sum(other == number for other in numbers) + 1) / 2
            for number in numbers
        ]

    first, second = ([pair[k] for pair in pairs] for k in (0, 1))
    found = spearman(np.array(first, dtype=float), np.array(second, dtype=float))
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert found is None
    else:
        a, b = (np.array(ranks(numbers)) for numbers in (first, second))
        a, b = a - a.mean(), b - b.mean()
        assert found == pytest.approx((a * b).sum() / ((a**2).sum() * (b**2).sum()) ** 0.5)


def overlap(a: list[float], b: list[float]) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    inter = max(width, 0) * max(height, 0)
    return inter / (a[2] * a[3] + b[2] * b[3] - inter)


@pytest.mark.parametrize("seed", range(20))
def test_against_plain_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    boxes: list[Any] = [
        (int(rng.integers(1, 3)), int(rng.integers(1, 3)), [*rng.uniform(0, 40, 2), *rng.uniform(15, 30, 2)])
        for _ in range(6)
    ]
    rows = []
    for image, category, box in boxes:
        for _ in range(int(rng.integers(0, 4))):
            rows.append([image, *(np.array(box) + rng.normal(0, 2, 4)), rng.uniform(0.1, 1), category])
    rows = rows or [[1, 0, 0, 10, 10, 0.5, 1]]
    claims: dict[int, list[tuple[float, float]]] = {}
    for image, *box, score, category in rows:
        overlaps = [overlap(box, other) if (i, c) == (image, category) else -1.0 for i, c, other in boxes]
        best = max(range(len(boxes)), key=overlaps.__getitem__)
        if overlaps[best] >= 0.5:
            claims.setdefault(best, []).append((score, overlaps[best]))
    found = ranking(scene(boxes), np.array(rows, dtype=float))
    if not claims:
        assert found is None
        return
    first = [max(own) for own in claims.values()]
    second = [sorted(own)[-2][0] / max(own)[0] if len(own) > 1 else 0.0 for own in claims.values()]
    assert found is not None
    assert found["found"] == pytest.approx(len(claims) / len(boxes))
    assert found["iou"] == pytest.approx(np.mean([iou for _, iou in first]))
    assert found["second"] == pytest.approx(np.median(second))
