"""What a head predicts for every point, how class and quality become one score, and how neighbours compete.

Shape legend: B images, P points of all levels, C classes, E values that a distance may take.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
class Peaks:
    """How neighbouring points compete in the NMS-free selection (detector/peaks.py).

    Attributes:
        window: side, in points, of the window in which the highest-ranking point of a class counts alone.
        iou: of their boxes, above which neighbours compete; None: whatever their boxes.

    Raises:
        UsageError: if the window is not odd and above 1, or the IoU outside 0 to 1.
    """

    window: int
    iou: float | None = None

    def __post_init__(self) -> None:
        if self.window < 3 or self.window % 2 == 0:
            raise UsageError(f"eval.peak_window={self.window} must be an odd number of at least 3, or null.")
        if self.iou is not None and not 0 <= self.iou <= 1:
            raise UsageError(f"eval.peak_iou={self.iou} must lie in 0 to 1.")

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Peaks | None:
        """That of `peak_window` and `peak_iou`, which older checkpoints lack; None without a window.

        Raises:
            UsageError: for an IoU without a window.
        """
        window, iou = options["peak_window"], options.get("peak_iou")
        if window is not None:
            return cls(window, iou)
        if iou is not None:
            raise UsageError(f"eval.peak_iou={iou} needs a window: add eval.peak_window=5")
        return None


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
        peaks: of the NMS-free selection; None to keep all points.
    """

    grid: PointGrid
    logits_BPC: Tensor
    distances_BP4: Tensor
    quality_BP: Tensor | None
    distribution_BP4E: Tensor | None = None
    scoring: Scoring = Scoring()
    peaks: Peaks | None = None
