"""One certain positive per truth and soft ones beside it: the labels of O2F (arXiv 2303.11567, section 3).

Shape legend: G truths, K positives.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .ranking import first_best


@dataclass(frozen=True)
class SoftLabels:
    """Score and weight of the positives: the best of each truth is certain, the others are soft.

    A certain positive has score 1 and weight 1. The scores of the soft ones are proportional to their p; the
    largest is T.

    Attributes:
        t_max, t_min: T at the start and at the end of training, in [0, 1].
        soft_weight: the weight of the soft ones' classification terms.
    """

    t_max: float
    t_min: float
    soft_weight: float

    def __post_init__(self) -> None:
        if not (0 <= self.t_max <= 1 and 0 <= self.t_min <= 1):
            raise ValueError(f"t_max and t_min must lie in [0, 1], got {self.t_max} and {self.t_min}")
        if self.soft_weight < 0:
            raise ValueError(f"soft_weight must be 0 or more, got {self.soft_weight}")

    def target(self, progress: float) -> float:
        """T, the highest soft score after this share of training."""
        return self.t_max + (self.t_min - self.t_max) * progress

    def __call__(
        self, truth_K: Tensor, p_K: Tensor, q_K: Tensor, truths: int, progress: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """score_K and weight_K, float32, and certain_K, bool.

        Args:
            truth_K: the truth of each positive.
            p_K: the predicted probability of its class.
            q_K: the quality that decides which one is certain; ties go to the earlier row.
        """
        row_K = torch.arange(len(truth_K), device=truth_K.device)
        certain_K = first_best(truth_K, q_K, truths).index_select(0, truth_K) == row_K
        soft_p_K = p_K.masked_fill(certain_K, 0.0)
        best_G = p_K.new_zeros(truths).scatter_reduce_(0, truth_K, soft_p_K, "amax")
        tiny = torch.finfo(torch.float32).tiny
        soft_K = soft_p_K / best_G[truth_K].clamp_(min=tiny) * self.target(progress)
        weight_K = torch.full_like(soft_K, self.soft_weight).masked_fill_(certain_K, 1.0)
        return soft_K.masked_fill_(certain_K, 1.0), weight_K, certain_K
