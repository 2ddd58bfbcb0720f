"""One image in plain Python, and the geometry and the careful comparisons that the slow oracles share.

Everything is a Python float. Where a decision hangs on a difference that float32 arithmetic could flip,
`UndecidedError` is raised and the image is not compared; exact ties (the same inputs) are decided by index.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from assigners import GroundTruth, PointGrid, Predictions

Box = tuple[float, ...]
# point -> (truth of this image, score, weight)
Assigned = dict[int, tuple[int, float, float]]


class Weighted(Assigned):
    """Positives, and point -> weight of its background term."""

    def __init__(self, positives: Assigned, background: dict[int, float]) -> None:
        super().__init__(positives)
        self.background = background


class UndecidedError(Exception):
    """Float rounding may decide this image either way."""


@dataclass(frozen=True)
class Point:
    x: float
    y: float
    stride: float
    level: int


@dataclass(frozen=True)
class Scene:
    points: list[Point]
    boxes: list[Box]
    labels: list[int]
    scores: list[list[float]]
    predicted: list[Box]
    size: tuple[int, int]

    def valid(self) -> list[int]:
        """The truths that are finite boxes with an area and overlap the image."""
        return [
            g for g, b in enumerate(self.boxes) if finite(b) and b[2] > b[0] and b[3] > b[1] and self.sees(b)
        ]

    def sees(self, box: Box) -> bool:
        height, width = self.size
        return box[2] > 0 and box[3] > 0 and box[0] < width and box[1] < height

    def iou(self, point: int, truth: int) -> float:
        return iou(self.predicted[point], self.boxes[truth])

    def score(self, point: int, truth: int) -> float:
        return self.scores[point][self.labels[truth]]


def scenes(grid: PointGrid, predictions: Predictions, truth: GroundTruth) -> list[tuple[Scene, int]]:
    """Each image of a batch, with the row of its first truth."""
    level_of = [level for level, part in enumerate(grid.level_slices) for _ in range(part.stop - part.start)]
    places = zip(grid.centers_P2.tolist(), grid.stride_P.tolist(), level_of, strict=True)
    points = [Point(x, y, stride, level) for (x, y), stride, level in places]
    boxes, labels, owner = truth.boxes_G4.tolist(), truth.labels_G.tolist(), truth.image_G.tolist()
    result = []
    for image in range(len(predictions.scores_BPC)):
        rows = [row for row, other in enumerate(owner) if other == image]
        scene = Scene(
            points,
            [tuple(boxes[row]) for row in rows],
            [labels[row] for row in rows],
            [[s if math.isfinite(s) else 0.0 for s in row] for row in predictions.scores_BPC[image].tolist()],
            [tuple(box) for box in predictions.boxes_BP4[image].tolist()],
            (grid.height, grid.width),
        )
        result.append((scene, rows[0] if rows else 0))
    return result


def finite(box: Box) -> bool:
    return all(math.isfinite(v) for v in box)


def area(box: Box) -> float:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def overlap(a: Box, b: Box) -> float:
    return area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))


def iou(a: Box, b: Box) -> float:
    if not (finite(a) and finite(b)):
        return 0.0
    both = overlap(a, b)
    union = area(a) + area(b) - both
    return both / union if union > 0 else 0.0


def giou(a: Box, b: Box) -> float:
    hull = area((min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])))
    union = area(a) + area(b) - overlap(a, b)
    return iou(a, b) - (hull - union) / hull


def giou_or_worst(a: Box, b: Box) -> float:
    """-1 where the hull is not finite."""
    if any(math.isnan(v) for v in (*a, *b)):
        return -1.0
    value = giou(a, b)
    return value if math.isfinite(value) else -1.0


def inside(point: Point, box: Box) -> bool:
    """Strictly inside."""
    return point.x > box[0] and point.y > box[1] and point.x < box[2] and point.y < box[3]


def square(box: Box, half_side: float) -> Box:
    """The square around the centre of a box."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return (x - half_side, y - half_side, x + half_side, y + half_side)


@dataclass(frozen=True)
class Entry:
    """Something to rank: a value (the lower the better), what it was computed from, and an index."""

    value: float
    inputs: object
    index: int


def near(a: float, b: float) -> bool:
    return abs(a - b) <= 2e-6 * max(abs(a), abs(b))


def lowest(entries: Sequence[Entry], k: int, close: Callable[[float, float], bool] = near) -> list[int]:
    """The indices of the k lowest values, ties to the lower index.

    Raises:
        UndecidedError: if an entry just below the line and one just above it are close but not the same.
    """
    ranked = sorted(entries, key=lambda entry: (entry.value, entry.index))
    taken, left = ranked[:k], ranked[k:]
    if taken and left and close(taken[-1].value, left[0].value):
        border = [e for e in taken if close(e.value, left[0].value)]
        border += [e for e in left if close(e.value, taken[-1].value)]
        if any(entry.inputs != border[0].inputs for entry in border):
            raise UndecidedError
    return [entry.index for entry in taken]


def winners(
    claims: dict[int, list[int]],
    entries: dict[tuple[int, int], Entry],
    truths: Sequence[int],
    close: Callable[[float, float], bool],
) -> dict[int, int]:
    """The truth of each claimed point: where several claim it, the lowest of all that have an entry there."""
    owner = {}
    for point, claimants in claims.items():
        owner[point] = claimants[0]
        if len(claimants) > 1:
            row = [replace(entries[point, g], index=g) for g in truths if (point, g) in entries]
            owner[point] = lowest(row, 1, close)[0]
    return owner
