"""Other implementations of the assigners, called on our inputs: to compare answers and times.

Shape legend: B images, P points of all levels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from torch import Tensor

from assigners import GroundTruth, PointGrid, Predictions

MODULES = ("from_mmdet", "from_ultralytics", "plain")


@dataclass(frozen=True)
class Peer:
    """Another implementation of one of our assigners.

    Attributes:
        name: the code base and its assigner.
        assigner: ours that it is a peer of, as in `configs/assigner/`.
        prepare: puts the inputs into the peer's own form, which is no part of assignment, and returns the
            assignment itself: a call without arguments that assigns the whole batch once, with the peer's
            own loop over images where it has one.
        dense: turns what that call returned into the truth of every point, (B, P) int64, a row of
            `GroundTruth` or -1 for background, and its soft score, (B, P) float32: 0 for background, and 1
            for every positive of a peer without soft scores.
    """

    name: str
    assigner: str
    prepare: Callable[[PointGrid, Predictions, GroundTruth], Callable[[], Any]]
    dense: Callable[[Any, PointGrid, Predictions, GroundTruth], tuple[Tensor, Tensor]]


def installed() -> list[Peer]:
    """The peers whose packages are there; the others are left out without a word."""
    peers: list[Peer] = []
    for name in MODULES:
        try:
            peers += import_module(f"{__name__}.{name}").PEERS
        except ImportError:
            continue
    return peers
