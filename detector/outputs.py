"""What a head predicts for every point, and how class and quality become one score.

Shape legend: B images, P points of all levels, C classes, E values that a distance may take.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from assigners.core.types import PointGrid
from errors import UsageError

QUALITIES = ("none", "centerness", "implicit")
SCORES = ("product", "geometric_mean")


@dataclass(frozen=True)
class Scoring:
    """How the score of a point follows from its class probability p and its quality q; p alone without q.

    Attributes:
        geometric_mean: the score is sqrt(p q) (TOOD, arXiv 2108.07755, section 3.1) instead of p q.
        class_threshold: the score threshold of inference acts on p, while the score ranks: FCOS (arXiv
            1904.01355) and ATSS (arXiv 1912.02424) with their supervised centerness.
    """

    geometric_mean: bool = False
    class_threshold: bool = False

    @classmethod
    def of(cls, quality: str, score: str = "product") -> Scoring:
        """The scoring that `model.head.quality` and `model.head.score` name.

        Raises:
            UsageError: for an unknown name of either.
        """
        for key, value, known in (("quality", quality, QUALITIES), ("score", score, SCORES)):
            if value not in known:
                raise UsageError(f"model.head.{key}={value} must be one of {', '.join(known)}.")
        return cls(score == "geometric_mean", quality == "centerness" and score == "product")


@dataclass(frozen=True)
class Outputs:
    """The predictions of a head for every point, with their graph.

    Attributes:
        grid: the points, in the order of P.
        logits_BPC: float32 class logits.
        distances_BP4: float32, pixels from the point to the left, top, right and bottom side. Negative where
            a box does not contain its point, which only some heads can predict; left + right and top + bottom
            are never negative.
        quality_BP: float32 logits, or None where the head has no quality branch.
        distribution_BP4E: float32 logits of each distance being 0, 1, ..., E - 1 strides, or None where the
            head predicts distances directly.
        scoring: how class and quality become a score.
        peak_window: side, in points, of the window around a local maximum in which the NMS-free selection
            keeps one point of a class (detector/peaks.py); None to keep all.
    """

    grid: PointGrid
    logits_BPC: Tensor
    distances_BP4: Tensor
    quality_BP: Tensor | None
    distribution_BP4E: Tensor | None = None
    scoring: Scoring = Scoring()
    peak_window: int | None = None
