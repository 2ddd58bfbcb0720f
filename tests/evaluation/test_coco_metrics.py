"""Shape legend: N detections, rows as in engine.coco_metrics."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from evaluation.coco_backends import accumulate
from evaluation.coco_metrics import (
    CERTAIN,
    DUPLICATE,
    FALSE,
    IGNORED,
    RECALLS,
    STATS,
    coco_results,
    duplicate_rate,
    evaluate,
    ground_truth,
    outcomes,
)

Boxes = list[tuple[int, int, list[float]]]


def truth_json(boxes: Boxes, images: int = 3, crowd: tuple[int, ...] = ()) -> dict[str, Any]:
    return {
        "images": [{"id": 10 + n, "file_name": f"{n}", "height": 300, "width": 300} for n in range(images)],
        "categories": [{"id": 4, "name": "cat"}, {"id": 9, "name": "dog"}],
        "annotations": [
            {"id": n + 1, "image_id": image, "category_id": category, "bbox": box,
             "area": box[2] * box[3] * 0.8, "iscrowd": int(n in crowd)}
            for n, (image, category, box) in enumerate(boxes)
        ],
    }  # fmt: skip


def rows(*found: tuple[int, int, list[float], float]) -> np.ndarray:
    return np.array([[image, *box, score, category] for image, category, box, score in found]).reshape(-1, 7)


def random_case(seed: int) -> tuple[dict[str, Any], np.ndarray]:
    """Truths of all sizes, crowds among them, with near, far, repeated and misnamed detections."""
    rng = np.random.default_rng(seed)
    boxes: Boxes = []
    for _ in range(60):
        side = np.exp(rng.uniform(np.log(6), np.log(200), 2))
        box = [*rng.uniform(0, 300 - side), *side]
        boxes.append((int(rng.integers(10, 16)), int(rng.choice([4, 9])), [float(v) for v in box]))
    found = []
    for image, category, box in boxes:
        for _ in range(int(rng.integers(0, 5))):
            moved = np.array(box) + rng.normal(0, 0.12, 4) * np.array([*box[2:], *box[2:]])
            moved[2:] = np.abs(moved[2:]) + 1
            wrong = rng.random() < 0.1
            found.append((image, 13 - category if wrong else category, moved.tolist(), float(rng.random())))
    return truth_json(boxes, images=7, crowd=(3, 17, 40)), rows(*found)


def reference(content: dict[str, Any], rows_N7: np.ndarray) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {"info": {}, **content}
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(coco_results(rows_N7)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats.tolist()


@pytest.mark.parametrize("seed", range(4))
def test_the_numbers_are_those_of_pycocotools(seed: int) -> None:
    content, found = random_case(seed)
    result = evaluate(ground_truth(content), found)
    expected = reference(content, found)
    assert 0 < expected[0] < 1
    assert [result[name] for name in STATS + RECALLS] == [
        None if value == -1 else round(100 * value, 4) for value in expected
    ]


def test_perfect_detections_have_an_ap_of_100() -> None:
    boxes: Boxes = [(10, 4, [5, 5, 20, 20]), (10, 9, [50, 60, 50, 60]), (11, 4, [0, 0, 150, 100])]
    result = evaluate(ground_truth(truth_json(boxes)), rows(*[(*box, 0.9) for box in boxes]))
    for name in STATS:
        assert result[name] == 100.0
    assert result["per_class"] == {"cat": 100.0, "dog": 100.0}
    assert result["duplicate_rate"] == 0.0


def test_each_class_has_its_own_ap() -> None:
    boxes: Boxes = [(10, 4, [5, 5, 20, 20]), (10, 9, [50, 60, 50, 60])]
    result = evaluate(ground_truth(truth_json(boxes)), rows((10, 4, [5, 5, 20, 20], 0.5)))
    assert result["per_class"] == {"cat": 100.0, "dog": 0.0}
    assert result["AP"] == 50.0
    assert result["AP_large"] is None


def test_a_class_without_truths_is_not_measured() -> None:
    result = evaluate(ground_truth(truth_json([(10, 4, [5, 5, 20, 20])])), rows((10, 9, [5, 5, 20, 20], 0.5)))
    assert result["per_class"] == {"cat": 0.0, "dog": None}
    assert result["AP"] == 0.0


def test_no_detections() -> None:
    result = evaluate(ground_truth(truth_json([(10, 4, [5, 5, 20, 20])])), np.zeros((0, 7)))
    assert (result["AP"], result["AR100"], result["duplicate_rate"]) == (0.0, 0.0, 0.0)


def test_no_truths() -> None:
    result = evaluate(ground_truth(truth_json([])), rows((10, 4, [5, 5, 20, 20], 0.9)))
    assert [result[name] for name in STATS + RECALLS] == [None] * 12
    assert result["per_class"] == {"cat": None, "dog": None}
    assert result["duplicate_rate"] == 0.0


def test_results_are_in_the_format_of_coco() -> None:
    result = coco_results(rows((11, 9, [1, 2.5, 3, 4], 0.25)))
    assert result == [{"image_id": 11, "category_id": 9, "bbox": [1.0, 2.5, 3.0, 4.0], "score": 0.25}]
    assert [type(result[0][key]) for key in ("image_id", "category_id")] == [int, int]


def iou(a: list[float], b: list[float]) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    inter = max(0.0, width) * max(0.0, height)
    return inter / (a[2] * a[3] + b[2] * b[3] - inter)


def plain_duplicates(content: dict[str, Any], rows_N7: np.ndarray) -> float:
    truths = [a for a in content["annotations"] if not a["iscrowd"]]
    taken: set[int] = set()
    count = 0
    for row in sorted(rows_N7.tolist(), key=lambda row: -row[5]):
        if row[5] < 0.3:
            continue
        overlaps = [
            (iou(row[1:5], a["bbox"]), a["id"])
            for a in truths
            if a["image_id"] == row[0] and a["category_id"] == row[6] and iou(row[1:5], a["bbox"]) >= 0.5
        ]
        free = [pair for pair in overlaps if pair[1] not in taken]
        if free:
            taken.add(max(free)[1])
        elif overlaps:
            count += 1
    return count / max(1, len(truths))


@pytest.mark.parametrize("seed", range(6))
def test_duplicates_are_those_of_a_plain_loop(seed: int) -> None:
    content, found = random_case(seed)
    expected = plain_duplicates(content, found)
    assert expected > 0
    assert duplicate_rate(ground_truth(content), found) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_outcomes_above_a_threshold_are_those_without_the_rest(seed: int) -> None:
    content, found = random_case(seed)
    truth = ground_truth(content)
    whole = outcomes(truth, found)
    assert set(whole.tolist()) == {FALSE, CERTAIN, DUPLICATE, IGNORED}
    for threshold in (0.2, 0.5, 0.8):
        above = found[:, 5] >= threshold
        np.testing.assert_array_equal(outcomes(truth, found[above]), whole[above])


def test_certain_detections_are_the_true_positives_of_coco() -> None:
    content, found = random_case(5)
    recall_TKAM = accumulate(ground_truth(content), found).recall_TKAM
    outcome = outcomes(ground_truth(content), found)
    for place, category in enumerate((4, 9)):
        truths = sum(a["category_id"] == category and not a["iscrowd"] for a in content["annotations"])
        certain = ((outcome == CERTAIN) & (found[:, 6] == category)).sum()
        assert certain / truths == pytest.approx(recall_TKAM[0, place, 0, -1])


def test_a_detection_in_a_crowd_is_ignored_unless_an_object_is_there() -> None:
    crowd, box = [0.0, 0, 200, 200], [10.0, 10, 40, 40]
    truth = ground_truth(truth_json([(10, 4, crowd), (10, 4, box)], crowd=(0,)))
    found = rows(
        (10, 4, box, 0.9), (10, 4, box, 0.8), (10, 4, [120, 120, 50, 50], 0.7),
        (10, 4, [160, 0, 80, 50], 0.6), (10, 4, [161, 0, 80, 50], 0.5), (10, 9, [120, 120, 50, 50], 0.4),
    )  # fmt: skip
    assert outcomes(truth, found).tolist() == [CERTAIN, DUPLICATE, IGNORED, IGNORED, FALSE, FALSE]
    assert outcomes(truth, found[::-1]).tolist() == [FALSE, FALSE, IGNORED, IGNORED, DUPLICATE, CERTAIN]


def test_what_is_a_duplicate() -> None:
    box, beside = [10.0, 10, 40, 40], [10.0, 10, 40, 36]
    truth = ground_truth(truth_json([(10, 4, box), (10, 4, [200, 200, 50, 50])]))
    twice = ((10, 4, box, 0.9), (10, 4, beside, 0.8))
    assert duplicate_rate(truth, rows(*twice)) == 0.5
    assert duplicate_rate(truth, rows(twice[0], (10, 4, beside, 0.29))) == 0  # too low a score
    assert duplicate_rate(truth, rows(twice[0], (10, 9, beside, 0.8))) == 0  # another class
    assert duplicate_rate(truth, rows(twice[0], (11, 4, beside, 0.8))) == 0  # another image
    assert duplicate_rate(truth, rows(twice[0], (10, 4, [10, 10, 40, 15], 0.8))) == 0  # of nothing
    assert duplicate_rate(truth, rows(*twice, (10, 4, [12, 12, 40, 38], 0.7))) == 1.0
