"""What becomes of detections, by hand and against plain loops.

Shape legend: D detections, rows as in evaluation.overlaps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation import overlaps
from evaluation.coco_backends import accumulate
from evaluation.outcomes import (
    CERTAIN,
    DUPLICATE,
    FALSE,
    IGNORED,
    MOST_DUPLICATES,
    Usable,
    calibration_error,
    duplicate_rate,
    outcomes,
    usable,
)
from evaluation.truth import Truth
from tests.evaluation.test_coco_metrics import random_case, rows, truth_json
from tests.oracles import detections as oracle

WORDS = {FALSE: oracle.FALSE, CERTAIN: oracle.CERTAIN, DUPLICATE: oracle.DUPLICATE, IGNORED: oracle.IGNORED}


def rate(content: dict[str, Any], rows_D7: np.ndarray) -> float:
    truth = Truth(content)
    return duplicate_rate(rows_D7[:, 5], outcomes(truth, rows_D7), truth.objects)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("at_once", [1 << 20, 50])
def test_outcomes_are_those_of_a_plain_loop(seed: int, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlaps, "PAIRS_AT_ONCE", at_once)
    content, found = random_case(seed)
    expected = oracle.outcomes(content, oracle.as_dicts(found.tolist()))
    assert [WORDS[outcome] for outcome in outcomes(Truth(content), found).tolist()] == expected
    assert set(expected) == set(WORDS.values())
    assert rate(content, found) == pytest.approx(
        oracle.duplicate_rate(content, oracle.as_dicts(found.tolist()))
    )


def test_equal_scores_go_to_the_lower_row_and_equal_overlaps_to_the_lower_object() -> None:
    box = [10.0, 10, 40, 40]
    truth = Truth(truth_json([(10, 4, box), (10, 4, box)]))
    found = overlaps.overlaps(truth, rows((10, 4, box, 0.5), (10, 4, [10, 10, 40, 30], 0.5)))
    assert found.detection_M.tolist() == [0, 0, 1, 1]
    assert found.object_M.tolist() == [0, 1, 0, 1]
    three = rows(*[(10, 4, box, 0.5)] * 3)
    assert outcomes(truth, three).tolist() == [CERTAIN, CERTAIN, DUPLICATE]


def test_images_and_classes_that_the_truth_does_not_know_are_false() -> None:
    box = [10.0, 10, 40, 40]
    found = rows((10, 5, box, 0.9), (9, 4, box, 0.9), (99, 9, box, 0.9), (11, 4, box, 0.9))
    assert outcomes(Truth(truth_json([(10, 4, box)])), found).tolist() == [FALSE] * 4


@pytest.mark.parametrize("seed", range(3))
def test_outcomes_above_a_threshold_are_those_without_the_rest(seed: int) -> None:
    content, found = random_case(seed)
    truth = Truth(content)
    whole = outcomes(truth, found)
    assert set(whole.tolist()) == {FALSE, CERTAIN, DUPLICATE, IGNORED}
    for threshold in (0.2, 0.5, 0.8):
        above = found[:, 5] >= threshold
        np.testing.assert_array_equal(outcomes(truth, found[above]), whole[above])


def test_certain_detections_are_the_true_positives_of_coco() -> None:
    content, found = random_case(5)
    recall_TCSN = accumulate(Truth(content), found).recall_TCSN
    outcome = outcomes(Truth(content), found)
    for place, category in enumerate((4, 9)):
        truths = sum(a["category_id"] == category and not a["iscrowd"] for a in content["annotations"])
        certain = ((outcome == CERTAIN) & (found[:, 6] == category)).sum()
        assert certain / truths == pytest.approx(recall_TCSN[0, place, 0, -1])


def test_a_detection_in_a_crowd_is_ignored_unless_an_object_is_there() -> None:
    crowd, box = [0.0, 0, 200, 200], [10.0, 10, 40, 40]
    truth = Truth(truth_json([(10, 4, crowd), (10, 4, box)], crowd=(0,)))
    found = rows(
        (10, 4, box, 0.9), (10, 4, box, 0.8), (10, 4, [120, 120, 50, 50], 0.7),
        (10, 4, [160, 0, 80, 50], 0.6), (10, 4, [161, 0, 80, 50], 0.5), (10, 9, [120, 120, 50, 50], 0.4),
    )  # fmt: skip
    assert outcomes(truth, found).tolist() == [CERTAIN, DUPLICATE, IGNORED, IGNORED, FALSE, FALSE]
    assert outcomes(truth, found[::-1]).tolist() == [FALSE, FALSE, IGNORED, IGNORED, DUPLICATE, CERTAIN]


def test_what_is_a_duplicate() -> None:
    box, beside = [10.0, 10, 40, 40], [10.0, 10, 40, 36]
    content = truth_json([(10, 4, box), (10, 4, [200, 200, 50, 50])])
    twice = ((10, 4, box, 0.9), (10, 4, beside, 0.8))
    assert rate(content, rows(*twice)) == 0.5
    assert rate(content, rows(twice[0], (10, 4, beside, 0.3))) == 0.5
    assert rate(content, rows(twice[0], (10, 4, beside, 0.29))) == 0  # too low a score
    assert rate(content, rows(twice[0], (10, 9, beside, 0.8))) == 0  # another class
    assert rate(content, rows(twice[0], (11, 4, beside, 0.8))) == 0  # another image
    assert rate(content, rows(twice[0], (10, 4, [10, 10, 40, 15], 0.8))) == 0  # of nothing
    assert rate(content, rows(*twice, (10, 4, [12, 12, 40, 38], 0.7))) == 1.0


def test_the_usable_threshold_by_hand() -> None:
    score_D = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3])
    outcome_D = np.array([CERTAIN, FALSE, DUPLICATE, CERTAIN, IGNORED, DUPLICATE, CERTAIN])
    # Of 20 objects one duplicate is allowed: down to the score above the second.
    assert usable(score_D, outcome_D, 20) == Usable(0.5, duplicates=0.05, recall=0.1, precision=0.5)
    assert usable(score_D, outcome_D, 19) == Usable(0.8, duplicates=0.0, recall=1 / 19, precision=0.5)
    everything = usable(score_D, outcome_D, 40)
    assert everything is not None
    assert (everything.threshold, everything.recall) == (0.3, 3 / 40)


def test_there_may_be_no_usable_threshold() -> None:
    assert usable(np.array([0.5, 0.5]), np.array([CERTAIN, DUPLICATE]), 1) is None  # the scores tie
    assert usable(np.zeros(0), np.zeros(0, dtype=int), 1) is None
    assert usable(np.array([0.5]), np.array([FALSE]), 0) is None


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), truths=st.integers(1, 60))
def test_no_lower_threshold_is_usable(seed: int, truths: int) -> None:
    rng = np.random.default_rng(seed)
    score_D, outcome_D = rng.integers(1, 12, 40) / 12, rng.choice(4, 40, p=[0.3, 0.4, 0.2, 0.1])
    found = usable(score_D, outcome_D, truths)
    duplicates = {t: (outcome_D[score_D >= t] == DUPLICATE).sum() / truths for t in np.unique(score_D)}
    fine = [t for t, rate in duplicates.items() if rate <= MOST_DUPLICATES]
    if not fine:
        assert found is None
        return
    assert found is not None
    assert found.threshold == min(fine)
    kept_D = outcome_D[score_D >= min(fine)]
    assert found.duplicates == pytest.approx(duplicates[min(fine)])
    assert found.recall == pytest.approx((kept_D == CERTAIN).sum() / truths)
    assert found.precision == pytest.approx((kept_D == CERTAIN).sum() / max(1, (kept_D != IGNORED).sum()))


def test_the_calibration_error_by_hand() -> None:
    # Bins of 1/15: 0.9 and 0.92 share one, 1.0 belongs to the last.
    score_D = np.array([0.9, 0.92, 1.0, 0.5, 0.5, 0.1])
    outcome_D = np.array([CERTAIN, FALSE, CERTAIN, DUPLICATE, CERTAIN, IGNORED])
    assert calibration_error(score_D, outcome_D) == pytest.approx((2 * abs(0.91 - 0.5) + 0 + 0) / 5)
    assert calibration_error(score_D[5:], outcome_D[5:]) is None
