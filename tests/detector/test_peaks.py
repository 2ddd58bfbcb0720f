"""Local maxima of the scores against a plain loop, and what they mean for the two selections."""

import math
from dataclasses import replace
from itertools import product

import pytest
import torch

from assigners import PointGrid
from detector.decode import Decoded, boxes_from_distances
from detector.peaks import are_peaks, keep_peaks
from detector.select import nms, topk
from errors import UsageError
from tests.detector.test_predictors import detector

GRID = PointGrid.for_image(40, 56, (8, 16))


def predictions(window: int | None) -> Decoded:
    generator = torch.Generator().manual_seed(0)
    scores_BPC = torch.rand(2, len(GRID), 3, generator=generator)
    distances_BP4 = 20 * torch.rand(2, len(GRID), 4, generator=generator) + 1
    return Decoded(scores_BPC, boxes_from_distances(GRID.centers_P2, distances_BP4), None, window)


def rank(given: Decoded, image: int, point: int, label: int) -> float:
    (x, y), (x1, y1, x2, y2) = GRID.centers_P2[point].tolist(), given.boxes_BP4[image, point].tolist()
    sides = (sorted((x - x1, x2 - x)), sorted((y - y1, y2 - y)))
    centerness = math.sqrt(math.prod(near / far for near, far in sides))
    return given.scores_BPC[image, point, label].item() * centerness


def near(window: int, part: slice, shape: tuple[int, int], point: int) -> list[int]:
    """The points in the window around a point of one level."""
    rows, columns = shape
    i, j = divmod(point - part.start, columns)
    return [
        part.start + y * columns + x
        for y in range(max(0, i - window // 2), min(rows, i + window // 2 + 1))
        for x in range(max(0, j - window // 2), min(columns, j + window // 2 + 1))
    ]


@pytest.mark.parametrize("window", [3, 5])
def test_the_best_scoring_point_around_each_point_that_ranks_highest_stays(window: int) -> None:
    given = predictions(window)
    expected_BPC = torch.zeros_like(given.scores_BPC)
    for image, label in product(range(2), range(3)):
        scores_P = given.scores_BPC[image, :, label].tolist()
        for part, shape in zip(GRID.level_slices, GRID.shapes, strict=True):
            for point in range(part.start, part.stop):
                around = near(window, part, shape, point)
                ranks = [rank(given, image, other, label) for other in around]
                if rank(given, image, point, label) == max(ranks):
                    best = max(around, key=scores_P.__getitem__)
                    expected_BPC[image, best, label] = scores_P[best]
    assert torch.equal(keep_peaks(given, GRID).scores_BPC, expected_BPC)
    assert 0 < (expected_BPC > 0).sum() < expected_BPC.numel()


@pytest.mark.parametrize("window", [3, 5])
@pytest.mark.parametrize("decimals", [1, 6])
def test_some_points_are_judged_as_all_are(window: int, decimals: int) -> None:
    given = predictions(window)
    given = replace(given, scores_BPC=given.scores_BPC.round(decimals=decimals).clamp(min=0.05))  # ties
    every = [index_M.contiguous() for index_M in torch.ones_like(given.scores_BPC).nonzero(as_tuple=True)]
    got = are_peaks(given, GRID, *every)
    assert torch.equal(got, keep_peaks(given, GRID).scores_BPC[tuple(every)] > 0)
    some = [index_M[::7].contiguous() for index_M in every]
    assert torch.equal(are_peaks(given, GRID, *some), got[::7])
    assert [len(found) for found in topk(given, GRID, score_threshold=1.0)] == [0, 0]


def kept(scores: list[float], x1: float, x2: float) -> list[float]:
    """The scores that stay in one row of points, 8 px apart, which all predict the same box."""
    grid = PointGrid.for_image(8, 8 * len(scores), (8,))
    box = torch.tensor([x1, -4.0, x2, 12.0])
    scores_BPC = torch.tensor(scores).view(1, -1, 1)
    given = Decoded(scores_BPC, box.expand(1, len(scores), 4), None, 3)
    return [round(score, 6) for score in keep_peaks(given, grid).scores_BPC.flatten().tolist()]


def test_scores_that_rise_twice_within_one_box_leave_one_point() -> None:
    """By score alone, the second and the fifth point would both be maxima; the box's centre is at 28."""
    assert kept([0.1, 0.5, 0.48, 0.49, 0.5, 0.3, 0.2], -4.0, 60.0) == [0.0, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0]


def test_the_point_that_stays_scores_highest_beside_the_one_nearest_to_the_centre() -> None:
    """The box's centre is that of the third point, whose neighbour scores a little higher."""
    assert kept([0.1, 0.55, 0.5, 0.3, 0.2], -1.0, 41.0) == [0.0, 0.55, 0.0, 0.0, 0.0]


def test_without_a_window_nothing_changes() -> None:
    given = predictions(None)
    assert keep_peaks(given, GRID) is given


def test_only_the_selection_without_nms_looks_for_peaks() -> None:
    plain, peaked = predictions(None), predictions(3)
    options = {"score_threshold": 0.05, "limit": 1000}
    assert [len(found) for found in nms(peaked, GRID, **options)] == [
        len(found) for found in nms(plain, GRID, **options)
    ]
    expected = [(scores > 0.05).sum().item() for scores in keep_peaks(peaked, GRID).scores_BPC]
    assert [len(found) for found in topk(peaked, GRID, **options)] == expected


@torch.no_grad()
def test_a_detector_says_its_window_with_its_outputs() -> None:
    model = detector().eval()
    model.use("many", 3)
    images = torch.zeros(1, 3, 64, 64)
    assert model(images).peak_window == 3
    assert {own.peak_window for own in model.outputs(images).values()} == {3}
    for window in (1, 4):
        with pytest.raises(UsageError, match=rf"eval\.peak_window={window} must be an odd number"):
            model.use(None, window)
