"""DSLA, one image, one truth and one point at a time (RTMDet, arXiv 2212.07784)."""

import math

from tests.oracles.scene import Assigned, Entry, Scene, UndecidedError, inside, lowest, winners
from tests.oracles.simota import _bce, _dynamic_k


def dsla(
    scene: Scene,
    candidate_topk: int = 13,
    iou_weight: float = 3.0,
    center_radius: float | None = 3.0,
    everywhere: bool = False,
    progress: float = 0.0,
) -> Assigned:
    """With `everywhere`, mmdetection's semantics: a truth may take any point that lies inside some truth.

    Raises:
        UndecidedError: also, with `everywhere`, if a truth takes one that lies outside of itself.
    """
    truths = scene.valid()
    owned = {(p, g) for p, point in enumerate(scene.points) for g in truths if inside(point, scene.boxes[g])}
    foreground = sorted({p for p, _ in owned})
    entries: dict[tuple[int, int], Entry] = {}
    for p in foreground:
        for g in truths:
            if everywhere or (p, g) in owned:
                distance = _distance(scene, p, g)
                value = _cost(scene, p, g, iou_weight)
                if center_radius is not None:
                    value += 10 ** (distance - center_radius)
                inputs = (scene.scores[p], scene.labels[g], scene.iou(p, g))
                entries[p, g] = Entry(value, (*inputs, distance if center_radius is not None else 0), p)

    claims: dict[int, list[int]] = {}
    for g in truths:
        k = _dynamic_k([scene.iou(p, g) for p in foreground], candidate_topk)
        for p in lowest([entries[p, g] for p in foreground if (p, g) in entries], k, _close):
            claims.setdefault(p, []).append(g)
            if (p, g) not in owned:
                raise UndecidedError

    owner = winners(claims, entries, truths, _close)
    if any(len(claims[p]) > 1 and (p, g) not in owned for p, g in owner.items()):
        raise UndecidedError
    return {p: (g, scene.iou(p, g), 1.0) for p, g in owner.items()}


def _close(a: float, b: float) -> bool:
    # Costs of -100 for a logarithm of 0 and the powers of ten of far points are coarse in float32.
    return abs(a - b) <= 3e-4 + 2e-6 * max(abs(a), abs(b))


def _distance(scene: Scene, point: int, truth: int) -> float:
    """From the centre of the truth, in strides."""
    place, box = scene.points[point], scene.boxes[truth]
    return math.dist((place.x, place.y), ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)) / place.stride


def _cost(scene: Scene, point: int, truth: int, iou_weight: float) -> float:
    total = 0.0
    for label, p in enumerate(scene.scores[point]):
        target = scene.iou(point, truth) if label == scene.labels[truth] else 0.0
        total += (target - p) ** 2 * _bce(p, target)
    return total - iou_weight * math.log(scene.iou(point, truth) + 1e-7)
