"""One certain positive per truth and soft ones beside it: the labels of O2F (arXiv 2303.11567, section 3).

Shape legend: G truths, K positives.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .pairs import best_per_cell


def soft_target(t_max: float, t_min: float, progress: float) -> float:
    """T, the highest soft target after this share of training."""
    return t_max + (t_min - t_max) * progress


def one_to_few_labels(
    truth_K: Tensor, p_K: Tensor, q_K: Tensor, truths: int, top: float, soft_weight: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Score and weight of the positives: the best of each truth is certain, the others are soft.

    A certain positive has score 1 and weight 1. The scores of the soft ones are proportional to their p; the
    largest is `top`.

    Args:
        truth_K: the truth of each positive.
        p_K: the predicted probability of its class.
        q_K: the quality that decides which one is certain; ties go to the earlier row.
        top: T, the highest soft score.
        soft_weight: the weight of the soft ones.

    Returns:
        score_K and weight_K, float32, and certain_K, bool.
    """
    certain_K = torch.zeros_like(truth_K, dtype=torch.bool)
    certain_K[best_per_cell(truth_K, q_K, truths)] = True
    soft_p_K = p_K.masked_fill(certain_K, 0.0)
    best_G = p_K.new_zeros(truths).scatter_reduce(0, truth_K, soft_p_K, "amax")
    soft_K = soft_p_K / best_G[truth_K].clamp(min=torch.finfo(torch.float32).tiny) * top
    return torch.where(certain_K, 1.0, soft_K), torch.where(certain_K, 1.0, soft_weight), certain_K
