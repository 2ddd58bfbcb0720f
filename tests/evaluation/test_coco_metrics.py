"""Shape legend: D detections, rows as in evaluation.overlaps."""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from evaluation.coco_metrics import RECALLS, STATS, evaluate
from evaluation.results import encode
from evaluation.truth import Truth
from tests.oracles import detections as oracle

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


def reference(content: dict[str, Any], rows_D7: np.ndarray) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {"info": {}, **content}
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(json.loads(encode(rows_D7))), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats.tolist()


@pytest.mark.parametrize("seed", range(4))
def test_the_numbers_are_those_of_pycocotools(seed: int) -> None:
    content, found = random_case(seed)
    result = evaluate(Truth(content), found)
    expected = reference(content, found)
    assert 0 < expected[0] < 1
    assert [result[name] for name in STATS + RECALLS] == [
        None if value == -1 else round(100 * value, 4) for value in expected
    ]


def test_perfect_detections_have_an_ap_of_100() -> None:
    boxes: Boxes = [(10, 4, [5, 5, 20, 20]), (10, 9, [50, 60, 50, 60]), (11, 4, [0, 0, 150, 100])]
    result = evaluate(Truth(truth_json(boxes)), rows(*[(*box, 0.9) for box in boxes]))
    for name in STATS:
        assert result[name] == 100.0
    assert result["per_class"] == {"cat": 100.0, "dog": 100.0}
    assert result["duplicate_rate"] == 0.0


def test_each_class_has_its_own_ap() -> None:
    boxes: Boxes = [(10, 4, [5, 5, 20, 20]), (10, 9, [50, 60, 50, 60])]
    result = evaluate(Truth(truth_json(boxes)), rows((10, 4, [5, 5, 20, 20], 0.5)))
    assert result["per_class"] == {"cat": 100.0, "dog": 0.0}
    assert result["AP"] == 50.0
    assert result["AP_large"] is None


def test_a_class_without_truths_is_not_measured() -> None:
    result = evaluate(Truth(truth_json([(10, 4, [5, 5, 20, 20])])), rows((10, 9, [5, 5, 20, 20], 0.5)))
    assert result["per_class"] == {"cat": 0.0, "dog": None}
    assert result["AP"] == 0.0


def test_no_detections() -> None:
    result = evaluate(Truth(truth_json([(10, 4, [5, 5, 20, 20])])), np.zeros((0, 7)))
    assert (result["AP"], result["AR100"], result["duplicate_rate"]) == (0.0, 0.0, 0.0)


def test_no_truths() -> None:
    result = evaluate(Truth(truth_json([])), rows((10, 4, [5, 5, 20, 20], 0.9)))
    assert [result[name] for name in STATS + RECALLS] == [None] * 12
    assert result["per_class"] == {"cat": None, "dog": None}
    assert result["duplicate_rate"] == 0.0


def without_crowds(content: dict[str, Any]) -> dict[str, Any]:
    return content | {"annotations": [a for a in content["annotations"] if not a["iscrowd"]]}


@pytest.mark.parametrize("seed", range(4))
def test_ap_of_the_crowded_half_against_plain_loops(seed: int) -> None:
    content, found = random_case(seed)
    content = without_crowds(content)
    images = oracle.crowded_half(content)
    part = content | {"annotations": [a for a in content["annotations"] if a["image_id"] in images]}
    own = oracle.as_dicts(found[np.isin(found[:, 0], images)].tolist())
    assert Truth(content).crowded_half == images
    expected = oracle.average_precision(part, own, limit=100)
    result = evaluate(Truth(content), found)
    assert result["AP_crowded"] == pytest.approx(expected, abs=1e-3)
    assert result["AP_crowded"] != result["AP"]


def test_the_crowded_half_by_hand() -> None:
    counts = ((11, 2), (12, 3), (14, 2))
    boxes: Boxes = [(image, 4, [10.0 * n, 5, 9, 9]) for image, count in counts for n in range(count)]
    # A crowd region is no object: image 10 holds none.
    content = truth_json([*boxes, (10, 4, [5, 5, 99, 99])], images=5, crowd=(7,))
    assert Truth(content).crowded_half == [11, 12, 14]
    assert Truth(content | {"images": content["images"][:4]}).crowded_half == [11, 12]


def test_ap_at_300_detections_against_plain_loops() -> None:
    """120 objects in one image, found in the order of their scores: COCO's limit of 100 loses the rest."""
    rng = np.random.default_rng(0)
    places = [(15.0 * (n % 12), 15.0 * (n // 12)) for n in range(120)]
    content = truth_json([(10, 4, [x, y, 10, 10]) for x, y in places], images=2)
    found = rows(
        *[(10, 4, [x, y, 10, float(rng.uniform(6, 10))], float(rng.uniform(0.5, 1))) for x, y in places],
        *[(10, 4, [200.0, 200, 9, 9], float(rng.uniform(0, 0.9))) for _ in range(40)],
    )
    result = evaluate(Truth(content), found)
    expected = {limit: oracle.average_precision(content, oracle.as_dicts(found.tolist()), limit)
                for limit in (100, 300)}  # fmt: skip
    assert expected[300] > expected[100] + 1
    assert result["AP"] == pytest.approx(expected[100], abs=1e-3)
    assert result["AP_300"] == pytest.approx(expected[300], abs=1e-3)
    assert result["per_class"]["cat"] == result["AP"]
    fewer = content | {"annotations": content["annotations"][:100]}
    assert evaluate(Truth(fewer), found)["AP_300"] is None


@pytest.mark.parametrize("seed", range(4))
def test_what_users_feel_against_plain_loops(seed: int) -> None:
    content, found = random_case(seed)
    result, own = evaluate(Truth(content), found), oracle.as_dicts(found.tolist())
    kept = oracle.usable(content, own)
    assert kept is not None
    assert 0 < kept[1] < 1
    assert result["duplicate_rate"] == pytest.approx(oracle.duplicate_rate(content, own))
    found_there = result["usable_score"], result["usable_recall"], result["usable_precision"]
    assert found_there == pytest.approx((kept[0], 100 * kept[1], 100 * kept[2]), abs=1e-4)
    assert result["calibration_error"] == pytest.approx(oracle.calibration_error(content, own), abs=1e-4)


def test_nothing_usable_is_a_recall_of_zero() -> None:
    box = [5.0, 5, 20, 20]
    result = evaluate(Truth(truth_json([(10, 4, box)])), rows((10, 4, box, 0.9), (10, 4, box, 0.9)))
    assert (result["usable_recall"], result["usable_precision"], result["usable_score"]) == (0.0, None, None)
    assert result["calibration_error"] == pytest.approx(0.4)
    empty = evaluate(Truth(truth_json([])), np.zeros((0, 7)))
    assert (empty["usable_recall"], empty["calibration_error"], empty["AP_crowded"]) == (None, None, None)
