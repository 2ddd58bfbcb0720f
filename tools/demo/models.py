"""What the page shows of an image: the candidates of a checkpoint, and what assigners make of a drawn box.

Shape legend: P points of all levels, C classes, M (point, class) pairs, U points, N candidates, K positives.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from assigners import Assigner, GroundTruth, PointGrid
from detector.decode import Decoded, decode
from detector.detector import Detector
from detector.peaks import are_peaks
from detector.trained import read_checkpoint
from engine.config.compose import compose_config
from engine.setup import build_assigner
from inference.pixels import canvas
from inference.record import Record

ASSIGNERS = ("atss", "simota", "tal", "o2f")
# The lowest threshold of the page is the first of these at which an image has at most MOST candidates.
FLOORS = (0.05, 0.1, 0.2, 0.4, 0.8)
MOST = 20_000


@dataclass(frozen=True)
class Scene:
    """One image as a checkpoint sees it.

    Attributes:
        size: (height, width) of the image inside the network input, in pixels.
    """

    grid: PointGrid
    predictions: Decoded
    size: tuple[int, int]


class Model:
    """A checkpoint; `name` is for the page."""

    def __init__(self, name: str, network: Detector, record: Record) -> None:
        self.name, self.network, self.record = name, network.eval(), record

    @torch.inference_mode()
    def scene(self, image_HW3: np.ndarray) -> Scene:
        """Runs the network once on an image, (H, W, 3) uint8 RGB."""
        height, width = self.record.resize.size(image_HW3.shape[0], image_HW3.shape[1])
        canvas_3HW = canvas(image_HW3, (height, width), self.record.padding)
        outputs = self.network(torch.from_numpy(canvas_3HW)[None])
        return Scene(outputs.grid, decode(outputs), (height, width))


def open_models(files: list[str]) -> list[Model]:
    """The checkpoints, named by as much of their paths as tells them apart.

    Raises:
        UsageError: if one of them cannot be read.
    """
    paths = [Path(file) for file in files]
    parts = [path.absolute().parts for path in paths]
    longest = max(map(len, parts))
    count = next((n for n in range(2, longest) if len({part[-n:] for part in parts}) == len(parts)), longest)
    names = ["/".join(part[-count:]) for part in parts]
    return [Model(name, *read_checkpoint(path)) for name, path in zip(names, paths, strict=True)]


def open_assigners() -> dict[str, Assigner]:
    """The assigners of the page, with the options of their papers."""
    return {name: build_assigner(compose_config(f"assigner={name}")) for name in ASSIGNERS}


def candidates(scene: Scene) -> dict[str, Any]:
    """All that `select.topk` and `select.nms` choose from at thresholds of at least `floor`.

    Returns:
        Columns of equal length, best first, equal scores in the order of points, then of classes: boxes
        (xyxy, network input, clipped), scores, labels, levels; `factors`, with which the threshold is
        multiplied before a score is compared; `peaks`, whether a candidate is left by the peak window, as
        topk requires.
    """
    predictions = scene.predictions
    scores_PC = predictions.scores_BPC[0]
    quality_BP = predictions.quality_BP
    factor_P = scores_PC.new_ones(len(scores_PC)) if quality_BP is None else quality_BP[0]
    side_4 = predictions.boxes_BP4.new_tensor([*scene.size[::-1], *scene.size[::-1]])
    boxes_P4 = torch.minimum(predictions.boxes_BP4[0].clamp(min=0), side_4)
    solid_P = (boxes_P4[:, 2:] > boxes_P4[:, :2]).all(dim=1)
    for floor in FLOORS:
        passing_PC = (scores_PC > (floor * factor_P)[:, None]) & solid_P[:, None]
        if int(passing_PC.sum()) <= MOST:
            break
    point_M, label_M = passing_PC.nonzero(as_tuple=True)
    order_N = scores_PC[point_M, label_M].argsort(descending=True, stable=True)
    point_N, label_N = point_M[order_N], label_M[order_N]
    level_N = scene.grid.level_of(point_N)
    peak_N = are_peaks(predictions, scene.grid, torch.zeros_like(point_N), point_N, label_N)
    return {
        "floor": floor,
        "boxes": boxes_P4[point_N].tolist(),
        "scores": scores_PC[point_N, label_N].tolist(),
        "labels": label_N.tolist(),
        "levels": level_N.tolist(),
        "factors": factor_P[point_N].tolist(),
        "peaks": peak_N.tolist(),
    }


def points(grid: PointGrid) -> dict[str, Any]:
    """The points of a grid: x and y in pixels of the network input, and the row of their level."""
    level_P = grid.level_of(torch.arange(len(grid)))
    return {"xy": grid.centers_P2.tolist(), "levels": level_P.tolist(), "strides": list(grid.strides)}


@torch.inference_mode()
def positives(
    assigner: Assigner, scene: Scene, box: list[float], label: int, progress: float
) -> dict[str, Any]:
    """The positives of one truth, xyxy in pixels of the network input.

    Returns:
        Columns of equal length: points (rows of the grid), scores, certain.
    """
    truth = GroundTruth.from_list([(torch.tensor([box]), torch.tensor([label]))])
    found = assigner(scene.grid, scene.predictions, truth, progress)
    certain_K: Tensor = torch.zeros_like(found.point_K) if found.certain_K is None else found.certain_K
    return {
        "points": found.point_K.tolist(),
        "scores": found.score_K.tolist(),
        "certain": certain_K.bool().tolist(),
        "highest": assigner.soft_target(progress),
    }
