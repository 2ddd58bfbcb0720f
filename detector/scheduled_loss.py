"""The criterion of a config: one for the whole training, or another one at its start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from assigners.core.types import Assignment, GroundTruth
from detector.criterion import Criterion
from detector.outputs import Outputs
from errors import UsageError

Loss = Callable[[Outputs, GroundTruth, Assignment, float], dict[str, Tensor]]


def build_criterion(loss: Mapping[str, Any], quality: str) -> Loss:
    """What turns outputs, ground truth, an assignment and the progress of training into losses.

    Args:
        loss: the options of Criterion; and `first`, null or what differs while progress < first.until, as
            TOOD (arXiv 2108.07755) trains with focal loss while ATSS assigns.
        quality: the head's branch.

    Raises:
        UsageError: for an option that does not exist, or a value that its option refuses.
    """
    options = {key: value for key, value in loss.items() if key != "first"}
    criterion = _criterion(options, quality)
    first = dict(loss.get("first") or {})
    if not first:
        return lambda outputs, truth, assignment, progress: criterion(outputs, truth, assignment)
    until = first.pop("until", None)
    if isinstance(until, bool) or not isinstance(until, int | float) or not 0 <= until <= 1:
        raise UsageError(f"loss.first.until={until} must be a number from 0 to 1.")
    at_first = _criterion({**options, **first}, quality)

    def call(
        outputs: Outputs, truth: GroundTruth, assignment: Assignment, progress: float
    ) -> dict[str, Tensor]:
        return (at_first if progress < until else criterion)(outputs, truth, assignment)

    return call


def _criterion(options: Mapping[str, Any], quality: str) -> Criterion:
    try:
        return Criterion(**options, quality=quality)
    except TypeError as error:
        raise UsageError(f"loss: {error}.") from error
