"""ATSS, one image, one truth and one level at a time (arXiv 1912.02424)."""

import math

from tests.oracles.scene import Assigned, Entry, Scene, UndecidedError, inside, iou, lowest, square


def atss(
    scene: Scene,
    topk: int = 9,
    anchor_scale: float = 8.0,
    score: str = "one",
    force_match: bool = False,
    progress: float = 0.0,
) -> Assigned:
    claims: dict[int, list[int]] = {}
    for truth in scene.valid():
        for point in _positives(scene, truth, topk, anchor_scale):
            claims.setdefault(point, []).append(truth)
    owner = {point: _best_truth(scene, point, truths, anchor_scale) for point, truths in claims.items()}
    if force_match:
        forced: dict[int, list[int]] = {}
        for truth in scene.valid():
            ious = [_anchor_iou(scene, point, truth, anchor_scale) for point in range(len(scene.points))]
            if max(ious) > 0:
                best = lowest([Entry(-value, value, point) for point, value in enumerate(ious)], 1)[0]
                forced.setdefault(best, []).append(truth)
        for point, truths in forced.items():
            owner[point] = _best_truth(scene, point, truths, anchor_scale)
    return {
        point: (truth, scene.iou(point, truth) if score == "iou" else 1.0, 1.0)
        for point, truth in owner.items()
    }


def _positives(scene: Scene, truth: int, topk: int, anchor_scale: float) -> list[int]:
    box = scene.boxes[truth]
    center_x, center_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    candidates = []
    for level in sorted({point.level for point in scene.points}):
        entries = []
        for index, point in enumerate(scene.points):
            if point.level == level:
                distance = (point.x - center_x) ** 2 + (point.y - center_y) ** 2
                entries.append(Entry(distance, distance, index))
        candidates += lowest(entries, topk)
    ious = [_anchor_iou(scene, point, truth, anchor_scale) for point in candidates]
    mean = sum(ious) / len(ious)
    variance = sum((value - mean) ** 2 for value in ious) / (len(ious) - 1) if len(ious) > 1 else 0.0
    threshold = mean + math.sqrt(variance)
    positives = []
    for point, value in zip(candidates, ious, strict=True):
        if not inside(scene.points[point], box):
            continue
        # Up to two equal values have an exact float32 mean and deviation; more may not.
        exact = len(ious) == 1 or (len(ious) == 2 and ious[0] == ious[1])
        if not exact and abs(value - threshold) <= 2e-6 * threshold:
            raise UndecidedError
        if value >= threshold:
            positives.append(point)
    return positives


def _anchor_iou(scene: Scene, point: int, truth: int, anchor_scale: float) -> float:
    place = scene.points[point]
    anchor = square((place.x, place.y, place.x, place.y), anchor_scale * place.stride / 2)
    return iou(anchor, scene.boxes[truth])


def _best_truth(scene: Scene, point: int, truths: list[int], anchor_scale: float) -> int:
    ious = {truth: _anchor_iou(scene, point, truth, anchor_scale) for truth in truths}
    return lowest([Entry(-value, value, truth) for truth, value in ious.items()], 1)[0]
