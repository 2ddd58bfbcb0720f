"""ATSS, TaskAligned and SimOTA against mmdetection's, wherever the two should give the same answer.

Shape legend: B images, P points, N truths of an image.
"""

from functools import partial

import pytest
import torch
from torch.nn.functional import one_hot
from torchvision.ops import box_iou

from tests.helpers.peer_borders import (
    PIXEL,
    close_call,
    close_contest,
    depth,
    on_border,
    overlaps,
    square_depth,
    top,
)
from tests.helpers.peer_cases import GRIDS, Picture, agree, with_eps

from_mmdet = pytest.importorskip("benchmarks.peers.from_mmdet")

from assigners import ATSS, SimOTA, TaskAligned  # noqa: E402

PEERS = {peer.assigner: peer for peer in from_mmdet.PEERS}
MARGIN = 0.01  # how far inside a truth, in px, a point must lie there


def atss_decided(picture: Picture) -> bool:
    center_P2, stride_P1 = picture.grid.centers_P2.double(), picture.grid.stride_P.double()[:, None]
    middle_N2 = (picture.boxes_N4[:, :2] + picture.boxes_N4[:, 2:]) / 2
    near_NP = torch.zeros(len(middle_N2), len(center_P2), dtype=torch.bool)
    for level in picture.grid.level_slices:
        distance_NP = torch.cdist(middle_N2, center_P2[level], compute_mode="donot_use_mm_for_euclid_dist")
        near_NP[:, level] = top(-distance_NP, 9)
        last_N = distance_NP.masked_fill(~near_NP[:, level], 0.0).amax(1)
        next_N = distance_NP.masked_fill(near_NP[:, level], torch.inf).amin(1)
        if bool((next_N - last_N < PIXEL).any()):
            return False
    anchor_P4 = torch.cat((center_P2 - 4 * stride_P1, center_P2 + 4 * stride_P1), dim=1)
    iou_NP = box_iou(picture.boxes_N4, anchor_P4)
    candidates_NM = iou_NP[near_NP].view(len(iou_NP), -1)
    threshold_N1 = candidates_NM.mean(1, keepdim=True) + candidates_NM.std(1, keepdim=True)
    if bool(((candidates_NM - threshold_N1).abs() < 1e-5).any()):
        return False
    fit_NP = near_NP & (iou_NP >= threshold_N1)
    depth_NP = depth(picture)
    claim_NP = fit_NP & (depth_NP > 0)
    return not (on_border(depth_NP[fit_NP], MARGIN) or close_contest(iou_NP * claim_NP, claim_NP.sum(0) > 1))


def test_atss_is_mmdets() -> None:
    # On a single level most truths have candidates of equal IoU: see test_mmdet_differences.
    grids = [grid for grid in GRIDS if len(grid.strides) > 1]
    seen = agree(ATSS(), PEERS["atss"], atss_decided, count=250, grids=grids)
    assert seen["compared"] > 0.95 * seen["images"], seen
    assert seen["positives"] > 5 * seen["with truths"], seen


def tal_decided(picture: Picture) -> bool:
    iou_NP, depth_NP = overlaps(picture), depth(picture)
    t_NP = picture.p_NP * iou_NP**6
    best_NP = top(t_NP, 13)
    if close_call(t_NP, best_NP) or on_border(depth_NP[best_NP], MARGIN):
        return False
    claim_NP = best_NP & (depth_NP > 0) & (t_NP > 0)
    # An alignment of at most 1e-9 is none here, but is one there.
    if bool((t_NP[claim_NP] < 1e-9 * (1 + 1e-4)).any()):
        return False
    return not close_contest(iou_NP * claim_NP, claim_NP.sum(0) > 1)


def test_tal_everywhere_is_mmdets() -> None:
    seen = agree(
        TaskAligned(candidates="everywhere"),
        PEERS["tal"],
        tal_decided,
        count=250,
        rescale=partial(with_eps, eps=1e-7),
    )
    assert seen["compared"] > 0.9 * seen["images"], seen
    assert seen["positives"] > 3 * seen["with truths"], seen


def simota_decided(picture: Picture) -> bool:
    """Also: every truth can buy all its points without the penalty."""
    depth_NP, square_NP = depth(picture), square_depth(picture, 2.5)
    if on_border(depth_NP) or on_border(square_NP):
        return False
    proper_NP = (depth_NP > 0) & (square_NP > 0)
    foreground_P = ((depth_NP > 0) | (square_NP > 0)).any(0)
    iou_NF, proper_NF = overlaps(picture)[:, foreground_P], proper_NP[:, foreground_P]
    sum_N = iou_NF.topk(min(10, iou_NF.shape[1]), dim=1).values.sum(1)
    k_N = sum_N.long().clamp(min=1)
    if bool((((sum_N - sum_N.round()).abs() < 1e-4) & (sum_N.round() > 1)).any()):
        return False
    if bool((proper_NF.sum(1) < k_N).any()):
        return False
    scores_FC = picture.scores_PC[foreground_P]
    hot_N1C = one_hot(picture.labels_N, scores_FC.shape[1]).double()[:, None]
    cls_NF = -(hot_N1C * scores_FC.log() + (1 - hot_N1C) * (1 - scores_FC).log()).sum(2)
    cost_NF = cls_NF - 3 * (iou_NF + 1e-7).log() + 1e5 * ~proper_NF
    # Costs are of the order of ten.
    worth_NF = 1000 - cost_NF.clamp(max=1000)
    bought_NF = top(worth_NF, k_N)
    return not (
        close_call(worth_NF, bought_NF, slack=1e-6)
        or close_contest(worth_NF, bought_NF.sum(0) > 1, slack=1e-6)
    )


def test_simota_is_mmdets_where_every_truth_can_buy_its_points() -> None:
    seen = agree(SimOTA(), PEERS["simota"], simota_decided, count=250, smallest=20.0)
    assert seen["compared"] > 0.5 * seen["images"], seen
    assert seen["positives"] > 3 * seen["with truths"], seen
