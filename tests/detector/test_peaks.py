"""Local maxima of the scores against a plain loop, and what they mean for the two selections."""

import pytest
import torch

from assigners import PointGrid
from detector.decode import Decoded
from detector.peaks import keep_peaks
from detector.select import nms, topk
from errors import UsageError
from tests.detector.test_predictors import detector

GRID = PointGrid.for_image(40, 56, (8, 16))


def predictions(window: int | None) -> Decoded:
    generator = torch.Generator().manual_seed(0)
    scores_BPC = torch.rand(2, len(GRID), 3, generator=generator)
    corner_BP2 = 40 * torch.rand(2, len(GRID), 2, generator=generator)
    return Decoded(scores_BPC, torch.cat((corner_BP2, corner_BP2 + 8), dim=2), None, window)


@pytest.mark.parametrize("window", [3, 5])
def test_a_score_stays_where_no_neighbour_of_its_level_has_a_higher_one(window: int) -> None:
    given = predictions(window)
    got = keep_peaks(given, GRID).scores_BPC
    zeroed = 0
    for part, (rows, columns) in zip(GRID.level_slices, GRID.shapes, strict=True):
        for image in range(2):
            for label in range(3):
                table = given.scores_BPC[image, part, label].view(rows, columns).tolist()
                for i in range(rows):
                    for j in range(columns):
                        near = [
                            table[y][x]
                            for y in range(max(0, i - window // 2), min(rows, i + window // 2 + 1))
                            for x in range(max(0, j - window // 2), min(columns, j + window // 2 + 1))
                        ]
                        expected = table[i][j] if table[i][j] == max(near) else 0.0
                        assert got[image, part.start + i * columns + j, label].item() == expected
                        zeroed += expected == 0
    assert 0 < zeroed < got.numel()


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
