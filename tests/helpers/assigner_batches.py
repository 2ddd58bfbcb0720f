"""Random batches for the assigners, drawn by hypothesis (they shrink) or from a seed (they never change).

Coordinates are multiples of 1/4 and scores of 1/64, so that float32 holds areas and IoUs' numerators
exactly and ties are true ties. Predictions come from a drawn seed in both cases.
"""

import math
import random
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from hypothesis import strategies as st
from torch import Tensor

from assigners import GroundTruth, PointGrid, Predictions

STRIDES = [(8, 16, 32), (4, 8), (8,), (16, 64), (5, 10), (32, 8), (64,)]
PROPER = ("any", "copy", "on a point", "huge")
DEGENERATE = ("flat", "inverted", "nan", "infinite")
KINDS = (*PROPER, *PROPER, "tiny", "tiny", "outside", "degenerate")
STYLES = ("near", "coarse", "constant", "broken")


class Batch:
    """The three inputs of an assigner, with a short repr, since hypothesis prints every batch that fails."""

    def __init__(
        self, grid: PointGrid, predictions: Predictions, truth: GroundTruth, images: int, style: str
    ) -> None:
        self.grid, self.predictions, self.truth = grid, predictions, truth
        self.images, self.style = images, style

    def __repr__(self) -> str:
        truth = self.truth
        table = [t.tolist() for t in (truth.image_G, truth.labels_G, truth.boxes_G4)]
        cells = f"{self.grid.shapes} of {self.grid.strides} from {self.grid.offset}"
        return f"<{self.images} images, {cells}, {self.style}, truths {list(zip(*table, strict=True))}>"


class Draw(Protocol):
    """Where choices come from."""

    def integer(self, low: int, high: int) -> int:
        """From low to high, both included."""

    def one_of(self, values: Sequence[Any]) -> Any: ...


class Seeded:
    """From a generator of pseudo-random numbers."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def integer(self, low: int, high: int) -> int:
        return self._random.randint(low, high)

    def one_of(self, values: Sequence[Any]) -> Any:
        return self._random.choice(values)


class Hypothesis:
    """From hypothesis."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def integer(self, low: int, high: int) -> int:
        return self._draw(st.integers(low, high))

    def one_of(self, values: Sequence[Any]) -> Any:
        return self._draw(st.sampled_from(values))


def batch_from(draw: Draw, kinds: Sequence[str] = KINDS, styles: Sequence[str] = STYLES) -> Batch:
    """Up to three images with up to 12 truths each, of any size, on one to three levels."""
    height, width = draw.integer(1, 90), draw.integer(1, 90)
    strides, offset = draw.one_of(STRIDES), draw.one_of((0.5, 0.5, 0.0))
    grid = PointGrid.for_image(height, width, strides, offset=offset)
    classes = draw.integer(1, 3)
    images = []
    for _ in range(draw.integer(1, 3)):
        boxes: list[list[float]] = []
        for _ in range(draw.one_of((0, 1, 2, 3, 5, 12))):
            boxes.append(_box(draw, draw.one_of(kinds), boxes, grid))
        labels = [draw.integer(0, classes - 1) for _ in boxes]
        images.append((torch.tensor(boxes).reshape(-1, 4), torch.tensor(labels, dtype=torch.long)))
    style = draw.one_of(styles)
    predictions = random_predictions(grid, images, classes, style, seed=draw.integer(0, 10**6))
    return Batch(grid, predictions, GroundTruth.from_list(images), len(images), style)


@st.composite
def batches(draw: st.DrawFn, kinds: Sequence[str] = KINDS, styles: Sequence[str] = STYLES) -> Batch:
    """What hypothesis draws depends on the modules that are loaded, so no test counts on it."""
    return batch_from(Hypothesis(draw), kinds, styles)


def _box(draw: Draw, kind: str, earlier: list[list[float]], grid: PointGrid) -> list[float]:
    height, width = grid.height, grid.width
    if kind == "degenerate":
        kind = draw.one_of(DEGENERATE)

    def quarters(low: int, high: int) -> float:
        return draw.integer(4 * low, 4 * high) / 4

    x, y = quarters(-12, width), quarters(-12, height)
    w, h = quarters(1, width + 24), quarters(1, height + 24)
    if kind == "copy" and earlier:
        return list(draw.one_of(earlier))
    if kind == "on a point":  # symmetric around a point: ties in distance and in anchor IoU
        x, y = grid.centers_P2[draw.integer(0, len(grid) - 1)].tolist()
        return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
    if kind == "huge":
        return [-quarters(0, 40), -quarters(0, 40), width + quarters(0, 40), height + quarters(0, 40)]
    if kind == "tiny":
        return [x, y, x + draw.integer(1, 8) / 4, y + draw.integer(1, 8) / 4]
    if kind == "outside":
        x, y = x + draw.one_of((-1, 1)) * (width + 64), y - height
        return [x, y, x + w, y + h]
    if kind == "flat":
        return [x, y, x, y + h]
    if kind == "inverted":
        return [x + w, y, x, y + h]
    box = [x, y, x + w, y + h]
    if kind in ("nan", "infinite"):
        bad = math.nan if kind == "nan" else draw.one_of((math.inf, -math.inf))
        box[draw.integer(0, 3)] = bad
    return box


def random_predictions(
    grid: PointGrid, images: list[tuple[Tensor, Tensor]], classes: int, style: str, seed: int
) -> Predictions:
    """Predictions of one style for images of (boxes, labels).

    near: boxes around their points, some exactly a truth, some of no size; scores with exact 0 and 1.
    poor: like near, but no box is exactly a truth.
    coarse: few distinct boxes and scores, for many exact ties.
    constant: every point says the same, and no box has a size.
    broken: like near, with NaN and infinity among the boxes and NaN among the scores.
    """
    generator = torch.Generator().manual_seed(seed)

    def chance(probability: float) -> Tensor:
        return torch.rand(len(images), len(grid), generator=generator) < probability

    shape = (len(images), len(grid), 4)
    center_BP4 = grid.centers_P2.repeat(1, 2).expand(shape)
    if style == "constant":
        return Predictions(torch.full((*shape[:2], classes), 0.5), center_BP4.clone())
    reach_BP4 = grid.stride_P[:, None] * torch.randint(0, 17, shape, generator=generator) / 4
    boxes_BP4 = center_BP4 + reach_BP4 * torch.tensor([-1.0, -1.0, 1.0, 1.0])
    copied_BP = chance({"coarse": 0.7, "poor": 0.0}.get(style, 0.25))
    for image, (truths_N4, _) in enumerate(images):
        usable_N4 = truths_N4[truths_N4.isfinite().all(1)]
        if len(usable_N4):
            pick_P = torch.randint(len(usable_N4), (len(grid),), generator=generator)
            boxes_BP4[image] = torch.where(copied_BP[image, :, None], usable_N4[pick_P], boxes_BP4[image])
    boxes_BP4 = torch.where(chance(0.05)[..., None], center_BP4, boxes_BP4)
    steps = 2 if style == "coarse" else 64
    scores_BPC = torch.randint(0, steps + 1, (*shape[:2], classes), generator=generator) / steps
    scores_BPC = torch.where(chance(0.08)[..., None], scores_BPC.round(), scores_BPC)
    if style == "broken":
        for value in (math.nan, math.inf, -math.inf):
            boxes_BP4[..., 2] = torch.where(chance(0.05), value, boxes_BP4[..., 2])
        scores_BPC[..., 0] = torch.where(chance(0.1), math.nan, scores_BPC[..., 0])
    return Predictions(scores_BPC, boxes_BP4)
