"""The IoU of gathered boxes by either of its two ways."""

import pytest
import torch

from assigners import PointGrid
from assigners.core.boxes import iou, iou_of_rows, usable

SIDES = (-torch.inf, -8.0, -0.0, 0.0, 1e-30, 3.5, 8.0, 640.0, 3e38, torch.inf, torch.nan)


@pytest.mark.parametrize("rows", [0, 50, 5000])
def test_the_iou_of_rows_is_that_of_the_boxes_bit_by_bit(rows: int) -> None:
    random = torch.Generator().manual_seed(rows)
    low_N2 = 100 * torch.rand(400, 2, generator=random)
    boxes_N4 = torch.cat((low_N2, low_N2 + 60 * torch.rand(400, 2, generator=random)), 1)
    boxes_N4[:50] = torch.tensor(SIDES)[torch.randint(len(SIDES), (50, 4), generator=random)]
    truth_G4 = boxes_N4.flip(0)[::7]  # not contiguous
    row_M = torch.randint(len(boxes_N4), (rows,), generator=random)
    truth_M = torch.randint(len(truth_G4), (rows,), generator=random)
    before_N4 = boxes_N4.clone()
    iou_M = iou_of_rows(boxes_N4, truth_G4, row_M, truth_M)
    assert torch.equal(iou_M, iou(boxes_N4[row_M], truth_G4[truth_M]))
    assert (iou_M > 0).sum() > rows / 20 or not rows
    assert torch.equal(boxes_N4.nan_to_num(), before_N4.nan_to_num())


@pytest.mark.parametrize(
    ("box", "is_usable"),
    [
        ([-5.0, -5.0, 0.5, 0.5], True),
        ([-5.0, 3.0, 0.0, 9.0], False),  # touches the image
        ([3.0, -5.0, 9.0, 0.0], False),
        ([64.0, 3.0, 70.0, 9.0], False),
        ([3.0, 32.0, 9.0, 40.0], False),
        ([63.5, 31.5, 70.0, 40.0], True),
        ([3.0, 3.0, 3.0, 9.0], False),
        ([3.0, float("nan"), 9.0, 9.0], False),
        ([3.0, 3.0, float("inf"), 9.0], False),
    ],
)
def test_usable_boxes_are_finite_and_overlap_the_image(box: list[float], is_usable: bool) -> None:
    grid = PointGrid.for_image(32, 64, (8,))
    assert usable(torch.tensor([box]), grid).tolist() == [is_usable]
