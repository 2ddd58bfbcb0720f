"""What assigners do with one set of predictions: the data behind the pictures of tools.visualize.

Shape legend: P points of L levels, G truths, K positives; a trailing 3 is COCO's size buckets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from assigners import Assigner, Assignment, GroundTruth, PointGrid, Predictions
from assigners.core.boxes import area
from data.loader import Batch, collate
from data.sample import Sample
from detector.decode import decode
from engine.log.statistics import BUCKETS, EDGES


@dataclass(frozen=True)
class Markers:
    """The positives of one assigner in one image.

    Attributes:
        xy_K2: float32, pixels of the network input.
        level_K: int64, the row of the point's level, the finest first.
        truth_K: int64, the row of the truth.
        score_K: float32, the soft score.
        certain_K: bool, the certain positives of one-to-few; False everywhere for other assigners.
    """

    xy_K2: np.ndarray
    level_K: np.ndarray
    truth_K: np.ndarray
    score_K: np.ndarray
    certain_K: np.ndarray

    def __len__(self) -> int:
        return len(self.truth_K)

    def __getitem__(self, rows: np.ndarray) -> Markers:
        return Markers(
            self.xy_K2[rows], self.level_K[rows], self.truth_K[rows], self.score_K[rows], self.certain_K[rows]
        )


@dataclass(frozen=True)
class Scene:
    """One image with its truths and the predictions for it, all on the CPU."""

    image: Tensor  # (3, H, W) uint8
    grid: PointGrid
    predictions: Predictions
    truth: GroundTruth


@dataclass(frozen=True)
class Statistics:
    """The positives of one assigner over a data set. Shares and means of nothing are NaN.

    Attributes:
        truths_3, positives_3, starved_3: counts; starved is a truth without a positive.
        score_3: the sum of the soft scores.
        level_L: positives on each level.
    """

    truths_3: np.ndarray
    positives_3: np.ndarray
    starved_3: np.ndarray
    score_3: np.ndarray
    level_L: np.ndarray

    @property
    def positives_per_truth(self) -> np.ndarray:
        """Of small, medium, large and all truths, (4,)."""
        return _ratio(self.positives_3, self.truths_3)

    @property
    def mean_score(self) -> np.ndarray:
        """Of the positives of small, medium, large and all truths, (4,)."""
        return _ratio(self.score_3, self.positives_3)

    @property
    def starved_share(self) -> np.ndarray:
        """Of small, medium, large and all truths, (4,)."""
        return _ratio(self.starved_3, self.truths_3)

    @property
    def level_share(self) -> np.ndarray:
        """Of all positives on each level, (L,)."""
        return self.level_L / max(1, self.level_L.sum())


def _ratio(part_3: np.ndarray, whole_3: np.ndarray) -> np.ndarray:
    part_4, whole_4 = (np.append(values, values.sum()).astype(float) for values in (part_3, whole_3))
    return np.divide(part_4, whole_4, out=np.full(4, np.nan), where=whole_4 > 0)


@torch.inference_mode()
def predict(model: nn.Module, batch: Batch, device: torch.device) -> tuple[PointGrid, Predictions]:
    """The points of a batch and the predictions at them, on the CPU."""
    outputs = model(batch.images_B3HW.to(device))
    height, width = batch.images_B3HW.shape[-2:]
    predictions = decode(outputs)
    return (
        PointGrid.for_image(height, width, outputs.grid.strides),
        Predictions(predictions.scores_BPC.cpu(), predictions.boxes_BP4.cpu()),
    )


def scene(model: nn.Module, sample: Sample, device: torch.device) -> Scene:
    """One sample, as the assigners see it."""
    batch = collate([sample])
    return Scene(sample.image, *predict(model, batch, device), batch.truth)


def markers(assigner: Assigner, scene: Scene, progress: float) -> Markers:
    """The positives that `assigner` chooses in a scene."""
    assignment = assigner(scene.grid, scene.predictions, scene.truth, progress)
    certain_K = assignment.certain_K
    if certain_K is None:
        certain_K = torch.zeros_like(assignment.truth_K, dtype=torch.bool)
    return Markers(
        scene.grid.centers_P2[assignment.point_K].numpy(),
        scene.grid.level_of(assignment.point_K).numpy(),
        assignment.truth_K.numpy(),
        assignment.score_K.numpy(),
        certain_K.numpy(),
    )


def statistics(
    model: nn.Module,
    batches: Iterable[Batch],
    assigners: Mapping[str, Assigner],
    progress: float,
    device: torch.device,
) -> dict[str, Statistics]:
    """What each assigner does over all batches, from the same predictions."""
    parts: dict[str, list[Statistics]] = {name: [] for name in assigners}
    for batch in batches:
        grid, predictions = predict(model, batch, device)
        for name, assigner in assigners.items():
            assignment = assigner(grid, predictions, batch.truth, progress)
            parts[name].append(count(assignment, batch.truth, grid))
    return {name: _total(of_batches) for name, of_batches in parts.items()}


def count(assignment: Assignment, truth: GroundTruth, grid: PointGrid) -> Statistics:
    """The numbers of one batch; buckets by the area in the network input, as in the training metrics."""
    bucket_G = torch.bucketize(area(truth.boxes_G4), torch.tensor(EDGES))
    bucket_K = bucket_G[assignment.truth_K]
    starved_G = torch.bincount(assignment.truth_K, minlength=len(truth)) == 0
    size = len(BUCKETS)
    return Statistics(
        torch.bincount(bucket_G, minlength=size).numpy(),
        torch.bincount(bucket_K, minlength=size).numpy(),
        torch.bincount(bucket_G[starved_G], minlength=size).numpy(),
        torch.bincount(bucket_K, weights=assignment.score_K.double(), minlength=size).numpy(),
        torch.bincount(grid.level_of(assignment.point_K), minlength=len(grid.strides)).numpy(),
    )


def _total(parts: list[Statistics]) -> Statistics:
    names = ("truths_3", "positives_3", "starved_3", "score_3", "level_L")
    return Statistics(*(np.sum([getattr(part, name) for part in parts], axis=0) for name in names))
