"""Each kind of error by hand, and all of them against plain loops.

Shape legend: D detections, rows as in evaluation.overlaps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.tide import KINDS, installed, tide
from evaluation.truth import Truth
from tests.oracles.tide import WRONG, oracle

pytestmark = pytest.mark.skipif(not installed(), reason="hotcoco is absent")

BOX = [100.0, 100, 100, 100]
NEAR, LOOSE, FAR = [100.0, 100, 100, 90], [100.0, 100, 100, 30], [300.0, 300, 50, 50]  # IoU 0.9, 0.3, 0


def content(*truths: tuple[int, int, list[float]], images: int = 2) -> dict[str, Any]:
    """Truths (image, category, box) in images of 400 pixels with two categories."""
    return {
        "images": [{"id": 10 + n, "file_name": f"{n}", "height": 400, "width": 400} for n in range(images)],
        "categories": [{"id": 4, "name": "cat"}, {"id": 9, "name": "dog"}],
        "annotations": [
            {"id": n, "image_id": image, "category_id": category, "bbox": box, "area": box[2] * box[3],
             "iscrowd": 0}
            for n, (image, category, box) in enumerate(truths, start=1)
        ],
    }  # fmt: skip


def rows(*found: tuple[int, int, list[float], float]) -> np.ndarray:
    return np.array([[image, *box, score, category] for image, category, box, score in found]).reshape(-1, 7)


CAT, DOG = (10, 4, BOX), (11, 9, BOX)
BOTH_FOUND = (10, 4, NEAR, 0.5), (11, 9, NEAR, 0.5)


@pytest.mark.parametrize(
    ("kind", "found", "base", "won"),
    [
        # A wrong name for the cat, which is not found otherwise; cats have an AP of 0, dogs of 100.
        ("classification", [(10, 9, NEAR, 0.4), BOTH_FOUND[1]], 50, 50),
        ("localisation", [(10, 4, LOOSE, 0.9), BOTH_FOUND[1]], 50, 50),
        # False positives of higher score than the true one: its precision is 1/2 at every recall.
        ("both", [(10, 9, LOOSE, 0.9), *BOTH_FOUND], 75, 25),
        ("duplicate", [(10, 4, BOX, 0.9), (10, 4, NEAR, 0.8), BOTH_FOUND[1]], 100, 0),
        ("background", [(10, 4, FAR, 0.9), *BOTH_FOUND], 75, 25),
    ],
)
def test_each_kind_by_hand(kind: str, found: list[Any], base: float, won: float) -> None:
    result = tide(Truth(content(CAT, DOG)), rows(*found))
    assert result["counts"] == {name: int(name == kind) for name in KINDS}
    assert result["AP50"] == pytest.approx(base)
    assert result["won"] == pytest.approx({name: won if name == kind else 0.0 for name in KINDS})


def test_what_is_missed() -> None:
    found = rows(*BOTH_FOUND)
    result = tide(Truth(content(CAT, DOG, (11, 4, FAR))), found)
    # Cats are found to a recall of a half (51 of 101 points), dogs to 1.
    assert result["AP50"] == pytest.approx((100 * 51 / 101 + 100) / 2)
    assert result["won"] == pytest.approx(dict.fromkeys(KINDS, 0.0) | {"missed": 100 - result["AP50"]})
    assert result["false_negatives"] == pytest.approx(result["won"]["missed"])
    # A class of which nothing is found counts with an AP of 0 in any case.
    assert tide(Truth(content(CAT, DOG)), found[1:])["won"]["missed"] == 0


def test_a_duplicate_costs_what_it_pushes_down() -> None:
    truth = Truth(content(CAT, (11, 4, BOX)))
    found = rows((10, 4, BOX, 0.9), (10, 4, NEAR, 0.8), (11, 4, BOX, 0.7))
    result = tide(truth, found)
    # Precision is 1 up to a recall of a half (51 of 101 points) and 2/3 above.
    assert result["AP50"] == pytest.approx(100 * (51 + 50 * 2 / 3) / 101)
    assert result["won"]["duplicate"] == pytest.approx(100 - result["AP50"])
    assert result["false_positives"] == pytest.approx(100 - result["AP50"])
    assert result["false_negatives"] == pytest.approx(0)


def test_what_lies_in_a_crowd_is_no_error() -> None:
    truth = content(CAT, DOG, (10, 4, [250.0, 250, 140, 140]))
    truth["annotations"][2]["iscrowd"] = 1
    inside, beside = (10, 4, [260.0, 260, 30, 30], 0.9), (10, 9, [10.0, 10, 30, 30], 0.8)
    result = tide(Truth(truth), rows(inside, beside, *BOTH_FOUND))
    assert result["counts"] == dict.fromkeys(KINDS, 0) | {"background": 1}
    assert result["AP50"] == pytest.approx(75)


def test_nothing_found_and_nothing_there() -> None:
    none = tide(Truth(content(CAT, DOG)), np.zeros((0, 7)))
    assert none["AP50"] == 0
    assert none["counts"] == {kind: 2 * (kind == "missed") for kind in KINDS}
    assert tide(Truth(content()), rows(BOTH_FOUND[0]))["counts"]["background"] == 1


def scene(seed: int) -> tuple[dict[str, Any], np.ndarray]:
    """Crowded truths with detections near, far, repeated, misnamed; no two scores are equal."""
    rng = np.random.default_rng(seed)
    truths, found = [], []
    for _ in range(12):
        box = [*rng.uniform(0, 250, 2), *rng.uniform(30, 150, 2)]
        image, category = int(rng.integers(10, 12)), int(rng.choice([4, 9]))
        truths.append((image, category, box))
        for _ in range(int(rng.integers(0, 5))):
            moved = np.array(box) + rng.normal(0, 0.2, 4) * np.tile(box[2:], 2)
            moved[2:] = np.abs(moved[2:]) + 1
            named = category if rng.random() < 0.7 else 13 - category
            found.append((image, named, moved.tolist(), float(rng.random())))
    for _ in range(4):
        corner = [float(v) for v in rng.uniform(380, 390, 2)]
        found.append((10, int(rng.choice([4, 9])), [*corner, 9.0, 9.0], float(rng.random())))
    return content(*truths), rows(*found)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_all_kinds_against_plain_loops(seed: int) -> None:
    truth, found = scene(seed)
    expected, result = oracle(truth, found), tide(Truth(truth), found)
    assert result["counts"] == expected["counts"]
    assert result["AP50"] == pytest.approx(expected["AP50"], abs=1e-9)
    assert result["won"] == pytest.approx(expected["won"], abs=1e-9)


def test_the_random_cases_have_errors_of_each_kind() -> None:
    counts = [oracle(*scene(seed))["counts"] for seed in range(20)]
    for kind in (*WRONG, "missed"):
        assert sum(count[kind] for count in counts) > 5, kind
