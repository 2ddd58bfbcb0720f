"""FCOS's own assignment, one image, one truth and one point at a time (arXiv 1904.01355)."""

import math

from tests.oracles.scene import (
    Assigned,
    Entry,
    Point,
    Scene,
    UndecidedError,
    area,
    inside,
    lowest,
    near,
    square,
)


def fcos(
    scene: Scene, center_radius: float | None = 1.5, reach: float = 8.0, progress: float = 0.0
) -> Assigned:
    strides = sorted({point.stride for point in scene.points})
    claims: dict[int, list[int]] = {}
    for truth in scene.valid():
        box = scene.boxes[truth]
        for index, point in enumerate(scene.points):
            if not inside(point, box):
                continue
            if center_radius is not None and not inside(point, square(box, center_radius * point.stride)):
                continue
            if _in_range(point, box, strides, reach):
                claims.setdefault(index, []).append(truth)
    return {index: (_smallest(scene, truths), 1.0, 1.0) for index, truths in claims.items()}


def _in_range(point: Point, box: tuple[float, ...], strides: list[float], reach: float) -> bool:
    level = strides.index(point.stride)
    lower = 0.0 if level == 0 else reach * strides[level - 1]
    upper = math.inf if level == len(strides) - 1 else reach * point.stride
    distance = max(point.x - box[0], point.y - box[1], box[2] - point.x, box[3] - point.y)
    for limit in (lower, upper):
        if math.isfinite(limit) and distance != limit and near(distance, limit):
            raise UndecidedError
    return lower <= distance <= upper


def _smallest(scene: Scene, truths: list[int]) -> int:
    return lowest([Entry(area(scene.boxes[truth]), scene.boxes[truth], truth) for truth in truths], 1)[0]
