"""A small batch with outputs, ground truth and an assignment, for tests of the criterion."""

import torch

from assigners.core.types import Assignment, GroundTruth, PointGrid
from detector.outputs import Outputs

GRID = PointGrid.for_image(32, 32, (8, 16))


TRUTH = GroundTruth(
    torch.tensor([[2.0, 3, 21, 30], [1, 1, 15, 9], [5, 2, 31, 31]]),
    torch.tensor([2, 0, 1]),
    torch.tensor([0, 0, 2]),
)


ASSIGNMENT = Assignment(
    image_K=torch.tensor([0, 0, 0, 2]),
    point_K=torch.tensor([0, 5, 9, 17]),
    truth_K=torch.tensor([1, 0, 0, 2]),
    score_K=torch.tensor([1.0, 0.9, 0.3, 0.7]),
    weight_K=torch.tensor([1.0, 1.0, 0.4, 0.4]),
)


NOTHING = Assignment(*(torch.zeros(0, dtype=torch.long) for _ in range(3)), torch.zeros(0), torch.zeros(0))


NO_TRUTH = GroundTruth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long))


def small_outputs(quality: bool) -> Outputs:
    generator = torch.Generator().manual_seed(0)
    points = len(GRID)
    return Outputs(
        GRID,
        2 * torch.randn(3, points, 3, generator=generator),
        15 * torch.rand(3, points, 4, generator=generator) + 0.5,
        torch.randn(3, points, generator=generator) if quality else None,
    )
