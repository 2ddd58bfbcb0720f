"""AP counted from weights is pycocotools' AP on the data set written out.

Shape legend: I images.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.cocoeval import COCOeval

from evaluation.bootstrap import Difference, average_precision, difference, draws, resampled
from evaluation.matching import Matches, match
from evaluation.truth import Truth, index

Case = tuple[dict[str, Any], list[dict[str, Any]]]


def random_case(seed: int, ties: bool = False) -> Case:
    """Few images and classes, with crowds, empty images, repeated, far and misnamed detections."""
    rng = np.random.default_rng(seed)
    images, classes = int(rng.integers(1, 9)), int(rng.integers(1, 5))
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image in range(1, images + 1):
        for _ in range(int(rng.integers(0, 7))):
            side = np.exp(rng.uniform(np.log(6), np.log(150), 2))
            box = [*rng.uniform(0, 300 - side), *side]
            category = int(rng.integers(1, classes + 1))
            crowd = int(rng.random() < 0.2)
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image, "category_id": category, "bbox": box,
                 "area": box[2] * box[3], "iscrowd": crowd}
            )  # fmt: skip
            for _ in range(int(rng.integers(0, 4))):
                moved = np.array(box) + rng.normal(0, 0.1, 4) * np.tile(side, 2)
                moved[2:] = np.abs(moved[2:]) + 1
                named = int(rng.integers(1, classes + 1)) if rng.random() < 0.1 else category
                results.append({"image_id": image, "category_id": named, "bbox": moved.tolist()})
    # Distinct within an image, yet often the same in several.
    for image in range(1, images + 1):
        own = [result for result in results if result["image_id"] == image]
        scores = rng.permutation(40)[: len(own)] / 40 if not ties else rng.integers(1, 4, len(own)) / 4
        for result, score in zip(own, scores.tolist(), strict=True):
            result["score"] = score
    truth = {
        "images": [{"id": n + 1, "file_name": "", "height": 300, "width": 300} for n in range(images)],
        "categories": [{"id": number, "name": str(number)} for number in range(1, classes + 1)],
        "annotations": annotations,
    }  # fmt: skip
    return truth, results


def reference(truth: dict[str, Any], results: list[dict[str, Any]]) -> float:
    """AP by pycocotools, NaN without truths."""
    found = [
        {**result, "id": number, "area": result["bbox"][2] * result["bbox"][3], "iscrowd": 0}
        for number, result in enumerate(results, start=1)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(index({"info": {}, **truth}), index({**truth, "annotations": found}), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return 100 * evaluation.stats[0] if evaluation.stats[0] >= 0 else float("nan")


def written_out(case: Case, weight_I: np.ndarray) -> Case:
    """The data set in which image i occurs weight_I[i] times, under ids that keep the order."""
    truth, results = case
    images, annotations, found = [], [], []
    for image, copies in zip(truth["images"], weight_I.tolist(), strict=True):
        for copy in range(copies):
            new = 1000 * image["id"] + copy
            images.append({**image, "id": new})
            for annotation in truth["annotations"]:
                if annotation["image_id"] == image["id"]:
                    annotations.append({**annotation, "id": len(annotations) + 1, "image_id": new})
            found += [{**result, "image_id": new} for result in results if result["image_id"] == image["id"]]
    return {**truth, "images": images, "annotations": annotations}, found


def matched(case: Case, limit: int = 100) -> Matches:
    found = [[r["image_id"], *r["bbox"], r["score"], r["category_id"]] for r in case[1]]
    return match(Truth(case[0]), np.array(found, dtype=float).reshape(-1, 7), limit)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_with_ones_it_is_the_ap_of_pycocotools(seed: int, ties: bool) -> None:
    case = random_case(seed, ties)
    found = average_precision(matched(case), np.ones(len(case[0]["images"]), dtype=np.int64))
    assert found == pytest.approx(reference(*case), abs=1e-9, nan_ok=True)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_draw_is_the_data_set_written_out(seed: int, draw: int) -> None:
    case = random_case(seed)
    matches = matched(case)
    (weight_I,) = draws(matches.images, 1, draw)
    assert weight_I.sum() == matches.images
    expected = reference(*written_out(case, weight_I))
    assert average_precision(matches, weight_I) == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_the_cases_are_not_trivial() -> None:
    """Some have crowds that decide, classes that a draw leaves without truths, APs between the extremes."""
    aps, ignored, dropped = [], 0, 0
    for seed in range(60):
        matches = matched(random_case(seed))
        aps.append(average_precision(matches, np.ones(matches.images, dtype=np.int64)))
        ignored += bool(
            len(matches.ignored_image_V) and (matches.ignored_until_N > matches.ignored_from_N).any()
        )
        (weight_I,) = draws(matches.images, 1, seed)
        left = set(matches.truth_class_G[weight_I[matches.truth_image_G] > 0].tolist())
        dropped += left != set(matches.truth_class_G.tolist())
    assert sum(1 < ap < 90 for ap in aps) > 30
    assert ignored > 15
    assert dropped > 5


def test_more_than_a_hundred_detections_of_an_image() -> None:
    truth, _ = random_case(3)
    box = [10.0, 10.0, 50.0, 50.0]
    truth["annotations"] = [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": box, "area": 2500.0, "iscrowd": 0}
    ]
    results = [
        {"image_id": 1, "category_id": 1, "bbox": [200.0, 200.0, 9.0, 9.0], "score": 0.9 - 0.001 * row}
        for row in range(110)
    ]
    results[105]["bbox"] = box
    assert average_precision(matched((truth, results)), np.ones(len(truth["images"]), dtype=np.int64)) == 0
    found = average_precision(matched((truth, results), 300), np.ones(len(truth["images"]), dtype=np.int64))
    assert found == pytest.approx(100 / 106)
    results[95]["bbox"] = box
    found = average_precision(matched((truth, results)), np.ones(len(truth["images"]), dtype=np.int64))
    assert found == pytest.approx(100 / 96)


@pytest.mark.parametrize("empty", ["detections", "truths"])
def test_nothing_to_count(empty: str) -> None:
    truth, results = random_case(5)
    case = (truth, []) if empty == "detections" else ({**truth, "annotations": []}, results)
    found = average_precision(matched(case), np.ones(len(truth["images"]), dtype=np.int64))
    assert found == 0 if empty == "detections" else np.isnan(found)


def test_the_same_seed_gives_the_same_draws() -> None:
    first, again, other = (np.array(list(draws(50, 4, seed))) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
    assert first.sum(1).tolist() == [50] * 4


def test_a_difference_by_hand() -> None:
    # 101 draws whose differences are 0, 1, ... 100: the 95% interval leaves 2.5 out on each side.
    first, second = np.arange(-1.0, 101.0), np.zeros(102)
    first[0] = 42.0
    found = difference(first, second)
    assert (found.mean, found.low, found.high) == pytest.approx((42.0, 2.5, 97.5))
    assert found.clear
    turned = difference(second, first)
    assert (turned.mean, turned.low, turned.high) == pytest.approx((-42.0, -97.5, -2.5))
    assert difference(second, first).clear
    assert not difference(first - 50, second).clear


def test_better_boxes_are_clearly_better() -> None:
    """On the same images, a detector that is always a little closer wins, though images differ far more."""
    rng = np.random.default_rng(0)
    box = [50.0, 50.0, 100.0, 100.0]
    truth: dict[str, Any] = {
        "images": [{"id": i, "file_name": "", "height": 300, "width": 300} for i in range(1, 41)],
        "categories": [{"id": 1, "name": "one"}],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "bbox": box, "area": 1e4, "iscrowd": 0}
            for i in range(1, 41)
        ],
    }  # fmt: skip
    shift = rng.uniform(0, 40, 40)
    near, far = (
        [
            {
                "image_id": i + 1,
                "category_id": 1,
                "bbox": [50.0 + extra + shift[i], 50, 100, 100],
                "score": 0.5,
            }
            for i in range(40)
        ]
        for extra in (0.0, 5.0)
    )
    near_U, far_U = (resampled(matched((truth, found)), 200) for found in (near, far))
    assert near_U[0] == pytest.approx(reference(truth, near))
    found = difference(near_U, far_U)
    assert found.clear
    assert found.low > 0
    assert near_U[1:].std() > (near_U - far_U)[1:].std()
    assert difference(near_U, near_U) == Difference(0.0, 0.0, 0.0)
    assert not difference(near_U, near_U).clear
