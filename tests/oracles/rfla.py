"""RFLA, every truth against every point (arXiv 2208.08738, section 3)."""

import math

from tests.oracles.scene import Assigned, Entry, Scene, lowest


def rfla(
    scene: Scene,
    topk: int = 3,
    extra: int = 1,
    ratio: float = 0.9,
    fraction: float = 0.5,
    field: float | None = None,
    progress: float = 0.0,
) -> Assigned:
    sides = {4: 35.0, 8: 91.0, 16: 267.0, 32: 427.0, 64: 555.0, 128: 811.0}
    if field is not None:
        sides = {point.stride: field * point.stride for point in scene.points}
    owner: Assigned = {}
    for count, scale in ((topk, fraction), (extra, fraction * ratio)):
        far: dict[tuple[int, int], float] = {}
        claims: dict[int, list[int]] = {}
        for truth in scene.valid():
            for point, place in enumerate(scene.points):
                far[truth, point] = divergence(scene, point, truth, sides[place.stride] * scale)
            entries = [
                Entry(far[truth, point], _inputs(scene, point, truth), point)
                for point in range(len(scene.points))
            ]
            for point in lowest(entries, count):
                claims.setdefault(point, []).append(truth)
        taken = dict(owner)
        for point, truths in claims.items():
            if point not in taken:
                best = lowest([Entry(far[t, point], scene.boxes[t], t) for t in truths], 1)[0]
                owner[point] = (best, 1.0, 1.0)
    return owner


def divergence(scene: Scene, point: int, truth: int, side: float) -> float:
    """KL of two normal distributions whose standard deviations are half the sides of their boxes."""
    place, box = scene.points[point], scene.boxes[truth]
    total = 0.0
    for axis, at in ((0, place.x), (1, place.y)):
        own, mean = (box[axis + 2] - box[axis]) / 2, (box[axis] + box[axis + 2]) / 2
        variance, field_variance = own**2, (side / 2) ** 2
        distance = (at - mean) ** 2
        total += math.log(variance / field_variance) + (field_variance + distance) / variance - 1
    return total / 2


def _inputs(scene: Scene, point: int, truth: int) -> tuple[float, ...]:
    """What the divergence is computed from, equal where it must be equal bit for bit."""
    place, box = scene.points[point], scene.boxes[truth]
    offset = abs(place.x - (box[0] + box[2]) / 2), abs(place.y - (box[1] + box[3]) / 2)
    return (place.stride, *offset)
