"""Where rounding or a documented difference may decide: images that have such a place are not compared.

Everything is float64. Shape legend: N truths of an image, P points.
"""

import torch
from torch import Tensor
from torchvision.ops import box_iou

from tests.helpers.peer_cases import Picture

RELATIVE = 1e-5  # float32 products of a few factors are exact to some 1e-6
PIXEL = 1e-4  # coordinates of some hundred px are exact to some 1e-5


def overlaps(picture: Picture) -> Tensor:
    """IoU of predicted boxes and truths, (N, P)."""
    return box_iou(picture.boxes_N4, picture.predicted_P4)


def depth(picture: Picture) -> Tensor:
    """How far each point lies inside each truth, (N, P) in px; negative outside."""
    center_P2 = picture.grid.centers_P2.double()
    low_NP2, high_NP2 = center_P2 - picture.boxes_N4[:, None, :2], picture.boxes_N4[:, None, 2:] - center_P2
    return torch.minimum(low_NP2, high_NP2).amin(2)


def square_depth(picture: Picture, radius: float) -> Tensor:
    """The same for the centre squares."""
    middle_N12 = ((picture.boxes_N4[:, :2] + picture.boxes_N4[:, 2:]) / 2)[:, None]
    away_NP = (picture.grid.centers_P2.double() - middle_N12).abs().amax(2)
    return radius * picture.grid.stride_P.double() - away_NP


def on_border(depth_NP: Tensor, margin: float = 0.0) -> bool:
    """Does a point lie between the border and `margin` px inside it, or too close to either to tell?"""
    return bool(((depth_NP > -PIXEL) & (depth_NP < margin + PIXEL)).any())


def top(value_NP: Tensor, k: Tensor | int) -> Tensor:
    """Which are the k largest of their row, (N, P) bool."""
    rank_NP = value_NP.argsort(1, descending=True).argsort(1)
    return rank_NP < (k if isinstance(k, int) else k[:, None])


def close_call(value_NP: Tensor, chosen_NP: Tensor, slack: float = RELATIVE) -> bool:
    """Is, in some row, the best of those not chosen too close to the worst chosen?

    Rows whose best not chosen is 0 or less, which stands for no candidate, are clear. `slack` is a share of
    the larger value.
    """
    best_N = value_NP.masked_fill(chosen_NP, 0.0).amax(1)
    worst_N = value_NP.masked_fill(~chosen_NP, torch.inf).amin(1)
    return bool(((best_N > 0) & (worst_N - best_N < slack * best_N)).any())


def close_contest(value_NP: Tensor, contested_P: Tensor, slack: float = RELATIVE) -> bool:
    """Are the two largest values of some contested point too close? `slack` is a share of the larger."""
    if len(value_NP) < 2:
        return False
    two_2P = value_NP[:, contested_P].topk(2, dim=0).values
    return bool((two_2P[0] - two_2P[1] < slack * two_2P[0].abs()).any())
