"""Each backend gives pycocotools' numbers, all of them, where evaluations tend to differ.

Shape legend: D detections, rows as in evaluation.overlaps.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import evaluation.coco_backends as backends
from errors import UsageError
from evaluation.coco_backends import BACKENDS, Accumulated, accumulate, ap_of_images, check_backend, chosen
from evaluation.truth import Truth
from tests.evaluation.coco_cases import (
    CASES,
    Case,
    a_thousand_detections_in_an_image,
    borders_of_area,
    boxes_without_area,
    crowds,
    iou_at_the_thresholds,
    ordinary,
    rows,
    scene,
    scores_at_the_ends,
    ties_in_score,
    truth_json,
)

OTHERS = [
    pytest.param(name, marks=pytest.mark.skipif(find_spec(module) is None, reason=f"{module} is absent"))
    for name, module in BACKENDS.items()
    if name != "pycocotools"
]


def assert_equal(found: Accumulated, expected: Accumulated) -> None:
    assert list(found.categories) == list(expected.categories)
    for field in ("stats_12", "precision_TRCSN", "recall_TCSN"):
        one, other = getattr(found, field), getattr(expected, field)
        assert one.shape == other.shape, field
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12, err_msg=field)


@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_backend_gives_the_numbers_of_pycocotools(backend: str, case: Callable[[], Case]) -> None:
    content, found = case()
    truth = Truth(content)
    expected = accumulate(truth, found, "pycocotools")
    assert_equal(accumulate(truth, found, backend), expected)
    assert_equal(accumulate(truth, found, "pycocotools"), expected)  # and leaves the truth as it was


@pytest.mark.parametrize("backend", OTHERS)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), images=st.integers(1, 4), steps=st.sampled_from([0, 2, 5]))
def test_a_backend_gives_the_numbers_of_pycocotools_on_any_scene(
    backend: str, seed: int, images: int, steps: int
) -> None:
    content, found = scene(np.random.default_rng(seed), images, truths=15, copies=8, score_steps=steps)
    truth = Truth(content)
    assert_equal(accumulate(truth, found, backend), accumulate(truth, found, "pycocotools"))


def test_cases_differ_from_the_trivial() -> None:
    """The cases would not show much if all was found, or nothing."""
    for case in (ordinary, ties_in_score, a_thousand_detections_in_an_image, borders_of_area,
                 iou_at_the_thresholds, crowds, boxes_without_area, scores_at_the_ends):  # fmt: skip
        content, found = case()
        assert 0.01 < accumulate(Truth(content), found, "pycocotools").stats_12[0] < 0.99, case.__name__


def test_at_most_100_detections_of_a_class_count() -> None:
    content = truth_json([{"bbox": [0, 0, 50, 50]}])
    far = [([200, 200, 50, 50], 0.9)] * 99
    for more, expected in ((0, 1.0), (1, 0.0)):
        found = rows(*far, *far[:more], ([0, 0, 50, 50], 0.5))
        assert accumulate(Truth(content), found, "pycocotools").stats_12[8] == expected


def test_what_comes_in_stays_as_it_was() -> None:
    content, found = ordinary()
    truth = Truth(content)
    before = copy.deepcopy(truth.dataset), found.copy()
    for name, module in BACKENDS.items():
        if find_spec(module) is not None:
            accumulate(truth, found, name)
            np.testing.assert_array_equal(found, before[1])
            for one, other in zip(truth.dataset["annotations"], before[0]["annotations"], strict=True):
                assert one | other == one


def test_an_unknown_backend_is_named() -> None:
    with pytest.raises(
        UsageError, match=r"eval\.backend=fast must be one of auto, pycocotools, hotcoco, faster"
    ):
        check_backend("fast")


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "find_spec", lambda name: None if name == "hotcoco" else object())
    with pytest.raises(UsageError, match=r"eval\.backend=hotcoco .*--extra fast"):
        check_backend("hotcoco")
    for name in ("auto", "pycocotools", "faster"):
        check_backend(name)


def test_auto_is_hotcoco_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, name in ((True, "hotcoco"), (False, "pycocotools")):
        monkeypatch.setattr(backends, "find_spec", lambda module, there=there: object() if there else None)
        assert chosen("auto") == name
        assert chosen("faster") == "faster"


@pytest.mark.parametrize("backend", OTHERS)
def test_other_limits_and_some_images_alone(backend: str) -> None:
    content, found = a_thousand_detections_in_an_image()
    truth = Truth(content)
    expected, result = (
        accumulate(truth, found, name, (1, 10, 100, 300)) for name in ("pycocotools", backend)
    )
    assert_equal(result, expected)
    assert result.recall_TCSN[0, :, 0, 3].sum() > result.recall_TCSN[0, :, 0, 2].sum()
    content, found = ordinary()
    truth = Truth(content)
    expected, result = (ap_of_images(truth, found, [11, 13], name) for name in ("pycocotools", backend))
    part = {**content, "annotations": [a for a in content["annotations"] if a["image_id"] in (11, 13)]}
    alone = accumulate(Truth(part), found[np.isin(found[:, 0], (11, 13))], "pycocotools")
    assert 0 < result == pytest.approx(expected, abs=1e-12) == pytest.approx(alone.stats_12[0], abs=1e-12)
    assert ap_of_images(truth, found, [17], backend) == ap_of_images(truth, found, [17], "pycocotools")
