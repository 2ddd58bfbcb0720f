"""One certain positive per truth and soft ones beside it: the labels of O2F (arXiv 2303.11567, section 3).

Shape legend: G truths, K positives.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .ranking import first_best


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
    row_K = torch.arange(len(truth_K), device=truth_K.device)
    certain_K = first_best(truth_K, q_K, truths).index_select(0, truth_K) == row_K
    soft_p_K = p_K.masked_fill(certain_K, 0.0)
    best_G = p_K.new_zeros(truths).scatter_reduce_(0, truth_K, soft_p_K, "amax")
    soft_K = soft_p_K / best_G[truth_K].clamp_(min=torch.finfo(torch.float32).tiny) * top
    weight_K = torch.full_like(soft_K, soft_weight).masked_fill_(certain_K, 1.0)
    return soft_K.masked_fill_(certain_K, 1.0), weight_K, certain_K
