"""Local maxima of the scores against a plain loop, and what they mean for the two selections."""

import math
from itertools import product

import pytest
import torch

from assigners import PointGrid
from detector.decode import Decoded, boxes_from_distances
from detector.peaks import keep_peaks
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


@pytest.mark.parametrize("window", [3, 5])
def test_a_score_stays_where_no_neighbour_of_its_level_ranks_higher(window: int) -> None:
    given = predictions(window)
    got = keep_peaks(given, GRID).scores_BPC
    zeroed = 0
    for part, (rows, columns) in zip(GRID.level_slices, GRID.shapes, strict=True):
        for image, label, i, j in product(range(2), range(3), range(rows), range(columns)):
            near = [
                rank(given, image, part.start + y * columns + x, label)
                for y in range(max(0, i - window // 2), min(rows, i + window // 2 + 1))
                for x in range(max(0, j - window // 2), min(columns, j + window // 2 + 1))
            ]
            point = part.start + i * columns + j
            highest = rank(given, image, point, label) == max(near)
            expected = given.scores_BPC[image, point, label].item() if highest else 0.0
            assert got[image, point, label].item() == expected
            zeroed += not highest
    assert 0 < zeroed < got.numel()


def test_of_equal_scores_the_point_nearest_to_the_centre_of_its_box_stays() -> None:
    """The object's centre lies at x = 19, a pixel nearer to the third point than to the second one."""
    grid = PointGrid.for_image(8, 40, (8,))
    box = torch.tensor([-1.0, -4.0, 39.0, 12.0])
    scores_BPC = torch.tensor([0.1, 0.5, 0.5, 0.3, 0.2]).view(1, 5, 1)
    got = keep_peaks(Decoded(scores_BPC, box.expand(1, 5, 4), None, 3), grid).scores_BPC
    assert got.flatten().tolist() == [0.0, 0.0, 0.5, 0.0, 0.0]


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
