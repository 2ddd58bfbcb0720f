"""Blocks spare comparisons, but never one that matters."""

import pytest
import torch
from torch import Tensor

import assigners.core.overlaps
from assigners import GroundTruth, Predictions
from assigners.core.boxes import iou
from assigners.core.overlaps import blocks_of, overlapping

IMAGES, POINTS = 3, 150


def batch(seed: int) -> tuple[Predictions, GroundTruth]:
    """Boxes of all sizes, some beyond the image, some that are none."""
    random = torch.Generator().manual_seed(seed)
    corner_BP2 = torch.rand(IMAGES, POINTS, 2, generator=random) * 300 - 50
    size_BP2 = torch.rand(IMAGES, POINTS, 2, generator=random).pow(4) * 400
    boxes_BP4 = torch.cat((corner_BP2, corner_BP2 + size_BP2), -1)
    odd_BP = torch.rand(IMAGES, POINTS, generator=random) < 0.1
    boxes_BP4[odd_BP] = boxes_BP4[odd_BP].flip(-1)
    boxes_BP4[0, 3] = torch.nan
    boxes_BP4[1, 5, 2] = torch.inf
    boxes_BP4[2, 7] = torch.tensor([1e30, 1e30, 3e38, 3e38])
    truths = torch.Generator().manual_seed(seed + 1)
    images = []
    for count in (9, 0, 14):
        corner_N2 = torch.rand(count, 2, generator=truths) * 200
        boxes_N4 = torch.cat((corner_N2, corner_N2 + torch.rand(count, 2, generator=truths) * 120), 1)
        images.append((boxes_N4, torch.zeros(count, dtype=torch.long)))
    return Predictions(torch.rand(IMAGES, POINTS, 1), boxes_BP4), GroundTruth.from_list(images)


def found(
    predictions: Predictions, truth: GroundTruth, keep_BP: Tensor | None = None, least_G: Tensor | None = None
) -> dict[int, list[int]]:
    """The points that each truth was compared with, and a check of what comes with them."""
    points: dict[int, list[int]] = {}
    cell_K = None if keep_BP is None else keep_BP.view(-1).nonzero().squeeze(1)
    blocks = blocks_of(predictions, cell_K)
    for truth_H, block_H in overlapping(blocks, truth, least_G):
        point_HS, boxes_HS4 = blocks.points(block_H), blocks.boxes(block_H)
        assert point_HS.shape == boxes_HS4.shape[:2]
        for row, g in enumerate(truth_H.tolist()):
            real_S = boxes_HS4[row].isfinite().all(-1)
            own_P4 = predictions.boxes_BP4[truth.image_G[g]]
            assert torch.equal(own_P4[point_HS[row][real_S]], boxes_HS4[row][real_S])
            assert not iou(boxes_HS4[row][~real_S], truth.boxes_G4[g]).any()
            points.setdefault(g, []).extend(point_HS[row][real_S].tolist())
    assert all(len(set(own)) == len(own) for own in points.values()), "a point was compared twice"
    return points


def overlaps(predictions: Predictions, truth: GroundTruth) -> Tensor:
    return iou(predictions.boxes_BP4[truth.image_G], truth.boxes_G4[:, None])


@pytest.mark.parametrize("size", [64, 1000, 2**19])
@pytest.mark.parametrize("seed", range(5))
def test_every_overlap_is_found(seed: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assigners.core.overlaps, "SLICE", size)
    predictions, truth = batch(seed)
    points = found(predictions, truth)
    iou_GP = overlaps(predictions, truth)
    assert (iou_GP > 0).sum() > 100
    for g, iou_P in enumerate(iou_GP):
        assert set((iou_P > 0).nonzero().squeeze(1).tolist()) <= set(points.get(g, []))


@pytest.mark.parametrize("seed", range(5))
def test_only_points_to_keep_are_compared(seed: int) -> None:
    predictions, truth = batch(seed)
    keep_BP = torch.rand(IMAGES, POINTS, generator=torch.Generator().manual_seed(seed)) < 0.4
    points = found(predictions, truth, keep_BP)
    iou_GP = overlaps(predictions, truth)
    for g, iou_P in enumerate(iou_GP):
        kept_P = keep_BP[truth.image_G[g]]
        assert set(((iou_P > 0) & kept_P).nonzero().squeeze(1).tolist()) <= set(points.get(g, []))
        assert kept_P[points.get(g, [])].all()


@pytest.mark.parametrize("seed", range(20))
def test_no_iou_of_at_least_the_least_is_left_out_and_others_are(seed: int) -> None:
    predictions, truth = batch(seed)
    iou_GP = overlaps(predictions, truth)
    # The least is the very IoU of some box, so that a bound without a margin for rounding would fail.
    least_G = iou_GP.topk(3, dim=1).values[:, 2]
    points = found(predictions, truth, least_G=least_G)
    for g, iou_P in enumerate(iou_GP):
        wanted_P = (iou_P >= least_G[g]) & (iou_P > 0)
        assert set(wanted_P.nonzero().squeeze(1).tolist()) <= set(points.get(g, []))
    assert sum(map(len, points.values())) < 0.7 * sum(map(len, found(predictions, truth).values()))


def test_nothing_to_compare() -> None:
    predictions, truth = batch(0)
    assert found(predictions, GroundTruth.from_list([])) == {}
    assert found(predictions, truth, keep_BP=torch.zeros(IMAGES, POINTS, dtype=torch.bool)) == {}
