"""Dual weighting, one image, one truth and one point at a time (arXiv 2203.09730, section 3)."""

import math

from tests.oracles.scene import (
    Assigned,
    Entry,
    Scene,
    UndecidedError,
    Weighted,
    giou_or_worst,
    inside,
    lowest,
    near,
)


def dw(
    scene: Scene,
    sharpness: float = 5.0,
    normalizer: float = 3.0,
    loss_scale: float = 5.0,
    sigma: float = 1.11,
    progress: float = 0.0,
) -> Assigned:
    claims: dict[int, list[tuple[int, float, float]]] = {}
    for truth in scene.valid():
        points = [p for p, place in enumerate(scene.points) if inside(place, scene.boxes[truth])]
        if not points:
            continue
        u = {p: _consistency(scene, p, truth, loss_scale) for p in points}
        prior = {p: _prior(scene, p, truth, sigma) for p in points}
        total = sum(math.exp(normalizer * u[p]) * u[p] * prior[p] for p in points)
        negative = _negative([scene.iou(p, truth) for p in points])
        for p, background in zip(points, negative, strict=True):
            weight = math.exp(sharpness * u[p]) * u[p] * prior[p] / max(total, 1e-12)
            claims.setdefault(p, []).append((truth, weight, background))
    owner, background = {}, {}
    for point, rivals in claims.items():
        entries = [Entry(-weight, (scene.boxes[t], scene.labels[t]), t) for t, weight, _ in rivals]
        best = lowest(entries, 1, close=lambda a, b: near(a, b) or abs(a - b) < 1e-30)[0]
        ((weight, rest),) = [(w, b) for t, w, b in rivals if t == best]
        owner[point] = (best, 1.0, max(weight, 1.1754943508222875e-38))
        background[point] = rest
    return Weighted(owner, background)


def _consistency(scene: Scene, point: int, truth: int, loss_scale: float) -> float:
    overlap = giou_or_worst(scene.predicted[point], scene.boxes[truth])
    return scene.score(point, truth) * math.exp(-loss_scale * (1 - overlap))


def _prior(scene: Scene, point: int, truth: int, sigma: float) -> float:
    place, box = scene.points[point], scene.boxes[truth]
    dx, dy = (
        ((box[0] + box[2]) / 2 - place.x) / place.stride,
        ((box[1] + box[3]) / 2 - place.y) / place.stride,
    )
    return math.exp(-(dx**2) / (2 * sigma**2)) * math.exp(-(dy**2) / (2 * sigma**2))


def _negative(ious: list[float]) -> list[float]:
    falling = [(1 - value**2) / 0.75 for value in ious]
    low, high = min(falling), min(1.0, max(falling))
    for value in ious:
        if value != 0.5 and near(value, 0.5):
            raise UndecidedError
    if high > low and high - low < 1e-4:  # the stretched difference is one of roundings
        raise UndecidedError
    return [
        1.0 if value < 0.5 else (f - low + 1e-12) / (high - low + 1e-12)
        for value, f in zip(ious, falling, strict=True)
    ]
