"""The batches that assigners are timed on: drawn at random, yet shaped like a detector in training.

Shape legend: B images, P points, G truths, C classes, M pairs (truth, point inside it).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from assigners import GroundTruth, PointGrid, Predictions
from assigners.core.pairs import points_within

CLASSES = 80
Inputs = tuple[PointGrid, Predictions, GroundTruth]


@dataclass(frozen=True)
class Case:
    """A batch to be drawn.

    Attributes:
        counts: truths of each image.
        sides: the shortest and the longest side of a truth in pixels; log-uniform between them.
    """

    name: str
    height: int
    width: int
    strides: tuple[int, ...]
    counts: tuple[int, ...]
    sides: tuple[float, float] = (16.0, 400.0)

    def draw(self, seed: int = 0, device: str = "cpu") -> Inputs:
        """The grid, the predictions and the truths, the same ones for the same seed."""
        threads = torch.get_num_threads()
        # With more than one, the rounding of a sigmoid and which of several boxes a point keeps would depend
        # on their number.
        torch.set_num_threads(1)
        try:
            return self._drawn(seed, device)
        finally:
            torch.set_num_threads(threads)

    def _drawn(self, seed: int, device: str) -> Inputs:
        random = torch.Generator().manual_seed(seed)
        grid = PointGrid.for_image(self.height, self.width, self.strides)
        truth = self._truth(random)
        predictions = _predictions(grid, truth, len(self.counts), random)
        moved = Predictions(predictions.scores_BPC.to(device), predictions.boxes_BP4.to(device))
        grid = PointGrid.for_image(self.height, self.width, self.strides, device)
        return grid, moved, truth.to(device)

    def _truth(self, random: torch.Generator) -> GroundTruth:
        truths = sum(self.counts)
        shortest, longest = self.sides
        size_G2 = shortest * (longest / shortest) ** torch.rand(truths, 2, generator=random)
        corner_G2 = torch.rand(truths, 2, generator=random) * (
            torch.tensor([self.width, self.height]) - size_G2
        ).clamp(min=0)
        return GroundTruth(
            torch.cat((corner_G2, corner_G2 + size_G2), 1),
            torch.randint(CLASSES, (truths,), generator=random),
            torch.repeat_interleave(torch.tensor(self.counts)),
        )


def _predictions(grid: PointGrid, truth: GroundTruth, images: int, random: torch.Generator) -> Predictions:
    """Boxes of some strides around each point; inside truths most are a noisy copy of one of them."""
    boxes_G4 = truth.boxes_G4
    reach_BP4 = grid.stride_P[:, None] * (1 + 5 * torch.rand(images, len(grid), 4, generator=random))
    boxes_BP4 = torch.cat((grid.centers_P2, grid.centers_P2), 1) + reach_BP4 * torch.tensor([-1, -1, 1, 1])
    scores_BPC = torch.randn(images, len(grid), CLASSES, generator=random).sub_(4.0).sigmoid_()
    pairs = points_within(grid, boxes_G4[:, None, :2], boxes_G4[:, None, 2:], boxes_G4)
    seen_M = torch.rand(len(pairs.truth_M), generator=random) < 0.7
    truth_M, point_M = pairs.truth_M[seen_M], pairs.point_M[seen_M]
    at_M = truth.image_G[truth_M], point_M
    # A noise of a fifth of the side leaves an IoU around 0.6. Of several truths around a point one stays.
    side_M4 = (boxes_G4[truth_M, 2:] - boxes_G4[truth_M, :2]).repeat(1, 2)
    noise_M4 = 0.2 * torch.randn(len(truth_M), 4, generator=random) * side_M4
    boxes_BP4[at_M] = boxes_G4[truth_M] + noise_M4
    scores_BPC[(*at_M, truth.labels_G[truth_M])] = torch.rand(len(truth_M), generator=random)
    return Predictions(scores_BPC, boxes_BP4)


def aerial_counts() -> tuple[int, ...]:
    """75,000 truths in 128 images: many hold some hundreds, one 5,000."""
    share_B = torch.linspace(0, 3.2, 128).exp()
    count_B = (share_B / share_B.sum() * 70_000).long()
    count_B[-1] = 5_000
    count_B[0] += 75_000 - int(count_B.sum())
    return tuple(count_B.tolist())


STRIDES = (8, 16, 32, 64, 128)
CASES = (
    *(Case(f"640x640 x16, {n} boxes", 640, 640, STRIDES, (n,) * 16) for n in (1, 7, 30, 100, 300)),
    *(
        Case(f"640x640 x16, {n} boxes up to 640 px", 640, 640, STRIDES, (n,) * 16, (10, 640))
        for n in (7, 100)
    ),
    *(Case(f"1333x800 x2, {n} boxes", 800, 1344, STRIDES, (n,) * 2) for n in (7, 100)),
    Case("aerial crowd: 128 images, 75,000 boxes", 640, 640, (8, 16, 32), aerial_counts(), (8.0, 32.0)),
)


def pairs_inside(inputs: Inputs) -> int:
    """How many pairs (truth, point inside it) a batch has: what the work grows with."""
    grid, _, truth = inputs
    boxes_G4: Tensor = truth.boxes_G4
    return len(points_within(grid, boxes_G4[:, None, :2], boxes_G4[:, None, 2:], boxes_G4).truth_M)
