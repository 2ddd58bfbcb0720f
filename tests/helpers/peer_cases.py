"""Random batches with generic coordinates, on which implementations are compared, and the comparison.

Shape legend: B images, P points, C classes, N truths of an image.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou

from assigners import Assignment, GroundTruth, PointGrid, Predictions
from benchmarks.peers import Peer

GRIDS = [
    PointGrid.for_image(128, 160, (8, 16, 32)),
    PointGrid.for_image(96, 96, (8, 16, 32)),
    PointGrid.for_image(160, 128, (4, 8, 16, 32)),
    PointGrid.for_image(256, 256, (8, 16, 32, 64, 128)),
    PointGrid.for_image(90, 130, (8,)),
]
CLASSES = 5


@dataclass(frozen=True)
class Batch:
    grid: PointGrid
    predictions: Predictions
    truth: GroundTruth


@dataclass(frozen=True)
class Picture:
    """One image of a batch, in float64."""

    grid: PointGrid
    boxes_N4: Tensor
    p_NP: Tensor
    scores_PC: Tensor
    labels_N: Tensor
    predicted_P4: Tensor


def batches(
    count: int, smallest: float = 3.0, near: float = 0.4, grids: Sequence[PointGrid] = GRIDS
) -> Iterator[Batch]:
    """Batches of 1 to 4 images; a third of the images have few truths, a crowd, or small and large truths.

    About one image in nine has none. `smallest` is the least side of a truth in pixels, `near` the share of
    predictions that are near some truth of the image, wherever their point is; the others lie around it.
    """
    for seed in range(count):
        generator = torch.Generator().manual_seed(seed)
        grid = grids[seed % len(grids)]
        images = []
        for _ in range(int(torch.randint(1, 5, (), generator=generator))):
            style = int(torch.randint(3, (), generator=generator))
            truths = int(torch.randint(0, 3, (), generator=generator)) if style == 0 else 4
            truths = 25 if style == 1 else truths
            images.append(_truths(grid, truths, style, smallest, generator))
        yield Batch(grid, _predictions(grid, images, near, generator), GroundTruth.from_list(images))


def _truths(
    grid: PointGrid, count: int, style: int, smallest: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    size_2 = torch.tensor([grid.width, grid.height], dtype=torch.float32)
    low, high = torch.tensor(smallest), size_2.max()
    if style == 2:  # every second one small, the others large
        low, high = torch.tensor([smallest, 0.5 * high] * count)[:count], torch.tensor([20.0, high] * count)
        low, high = low[:, None], high[:count, None]
    side_N2 = (low.log() + torch.rand(count, 2, generator=generator) * (high / low).log()).exp()
    # Every truth overlaps the image; many reach beyond it.
    center_N2 = torch.rand(count, 2, generator=generator) * size_2
    boxes_N4 = torch.cat((center_N2 - side_N2 / 2, center_N2 + side_N2 / 2), dim=1)
    return boxes_N4, torch.randint(CLASSES, (count,), generator=generator)


def _predictions(
    grid: PointGrid, images: list[tuple[Tensor, Tensor]], near: float, generator: torch.Generator
) -> Predictions:
    shape = (len(images), len(grid), 4)
    reach_BP4 = grid.stride_P[:, None] * (0.5 + 3.5 * torch.rand(shape, generator=generator))
    sign_4 = torch.tensor([-1.0, -1.0, 1.0, 1.0])
    boxes_BP4 = grid.centers_P2.repeat(1, 2) + reach_BP4 * sign_4
    for image, (truths_N4, _) in enumerate(images):
        if len(truths_N4):
            copy_P4 = truths_N4[torch.randint(len(truths_N4), (len(grid),), generator=generator)]
            side_P4 = (copy_P4[:, 2:] - copy_P4[:, :2]).repeat(1, 2)
            copy_P4 = copy_P4 + 0.3 * side_P4 * (torch.rand(len(grid), 4, generator=generator) - 0.5)
            near_P1 = torch.rand(len(grid), 1, generator=generator) < near
            boxes_BP4[image] = torch.where(near_P1, copy_P4, boxes_BP4[image])
    scores_BPC = 0.02 + 0.96 * torch.rand(*shape[:2], CLASSES, generator=generator)
    return Predictions(scores_BPC, boxes_BP4)


def pictures(batch: Batch) -> Iterator[Picture]:
    for image in range(len(batch.predictions.scores_BPC)):
        own_G = batch.truth.image_G == image
        labels_N = batch.truth.labels_G[own_G]
        scores_PC = batch.predictions.scores_BPC[image].double()
        yield Picture(
            batch.grid,
            batch.truth.boxes_G4[own_G].double(),
            scores_PC[:, labels_N].T,
            scores_PC,
            labels_N,
            batch.predictions.boxes_BP4[image].double(),
        )


def ask(peer: Peer, batch: Batch) -> tuple[Tensor, Tensor]:
    """Truth and score of every point, (B, P) each, as the peer sees them."""
    inputs = (batch.grid, batch.predictions, batch.truth)
    return peer.dense(peer.prepare(*inputs)(), *inputs)


def dense(assignment: Assignment, batch: Batch) -> tuple[Tensor, Tensor]:
    """The same for an assignment of ours."""
    truth_BP = assignment.dense(len(batch.predictions.scores_BPC), len(batch.grid))
    score_BP = torch.zeros(truth_BP.shape)
    score_BP[assignment.image_K, assignment.point_K] = assignment.score_K
    return truth_BP, score_BP


def agree(
    assigner: Callable[..., Assignment],
    peer: Peer,
    decided: Callable[[Picture], bool],
    count: int,
    rescale: Callable[[Tensor, Tensor, Batch], Tensor] | None = None,
    **kinds: Any,
) -> Counter[str]:
    """Holds an assigner to a peer on `count` batches, image by image, where `decided` says that it can be.

    rescale: (truth_BP, score_BP, batch) to the scores that the peer should have where ours are score_BP.
    kinds: of batches, see there.
    """
    seen: Counter[str] = Counter()
    for batch in batches(count, **kinds):
        ours_BP, score_BP = dense(assigner(batch.grid, batch.predictions, batch.truth), batch)
        theirs_BP, their_score_BP = ask(peer, batch)
        if rescale is not None:
            score_BP = rescale(ours_BP, score_BP, batch)
        for image, picture in enumerate(pictures(batch)):
            seen["images"] += 1
            if len(picture.boxes_N4) and not decided(picture):
                continue
            torch.testing.assert_close(theirs_BP[image], ours_BP[image], rtol=0, atol=0)
            torch.testing.assert_close(their_score_BP[image], score_BP[image], rtol=1e-4, atol=1e-5)
            seen["compared"] += 1
            seen["with truths"] += len(picture.boxes_N4) > 0
            seen["positives"] += int((ours_BP[image] >= 0).sum())
    return seen


def with_eps(truth_BP: Tensor, score_BP: Tensor, batch: Batch, eps: float) -> Tensor:
    """Scores of TaskAligned as they are with `eps` added to their divisor, the best alignment of a truth."""
    image_K, point_K = (truth_BP >= 0).nonzero().unbind(1)
    truth_K = truth_BP[image_K, point_K]
    p_K = batch.predictions.scores_BPC[image_K, point_K, batch.truth.labels_G[truth_K]].double()
    boxes_K4 = batch.predictions.boxes_BP4[image_K, point_K].double()
    iou_K = box_iou(boxes_K4, batch.truth.boxes_G4[truth_K].double()).diagonal()
    best_G = torch.zeros(len(batch.truth), dtype=torch.float64)
    best_G.scatter_reduce_(0, truth_K, p_K * iou_K**6, "amax")
    scaled_BP = score_BP.clone()
    scaled_BP[image_K, point_K] *= (best_G / (best_G + eps))[truth_K].float()
    return scaled_BP
