"""ATSS on qualities, one image, one truth and one point at a time (DeFCN, arXiv 2012.03544)."""

from statistics import fmean, stdev

from tests.oracles.scene import Assigned, Entry, Scene, UndecidedError, inside, lowest


def quality_atss(scene: Scene, topk: int = 9, alpha: float = 0.8, progress: float = 0.0) -> Assigned:
    def quality(point: int, truth: int) -> float:
        overlap = scene.iou(point, truth)
        return scene.score(point, truth) ** (1 - alpha) * overlap**alpha if overlap > 0 else 0.0

    def entry(point: int, truth: int, index: int) -> Entry:
        q = quality(point, truth)
        return Entry(-q, (scene.score(point, truth), scene.iou(point, truth)) if q else (), index)

    claims: dict[int, list[int]] = {}
    for truth in scene.valid():
        candidates: list[int] = []
        for level in {point.level for point in scene.points}:
            entries = [entry(p, truth, p) for p, place in enumerate(scene.points) if place.level == level]
            candidates += lowest(entries, topk)
        values = [quality(point, truth) for point in candidates]
        threshold = fmean(values) + (stdev(values) if len(values) > 1 else 0.0)
        for point, q in zip(candidates, values, strict=True):
            if q == 0 or not inside(scene.points[point], scene.boxes[truth]):
                continue
            if len(set(values)) > 1 and abs(q - threshold) < 1e-5 * threshold:
                raise UndecidedError
            if q >= threshold:
                claims.setdefault(point, []).append(truth)
    return {
        point: (lowest([entry(point, truth, truth) for truth in rivals], 1)[0], 1.0, 1.0)
        for point, rivals in claims.items()
    }
