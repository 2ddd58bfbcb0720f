"""SimOTA, one image, one truth and one point at a time (YOLOX, arXiv 2107.08430)."""

import math

from tests.oracles.scene import Assigned, Entry, Scene, UndecidedError, giou, inside, lowest, square, winners

PENALTY = 1e5


def simota(
    scene: Scene,
    center_radius: float = 2.5,
    candidate_topk: int = 10,
    iou_weight: float = 3.0,
    cls_weight: float = 1.0,
    cost: str = "bce",
    region: str = "box_or_center",
    everywhere: bool = False,
    progress: float = 0.0,
) -> Assigned:
    """With `everywhere`, mmdetection's semantics: a truth may take any foreground point at 1e5 more.

    Raises:
        UndecidedError: also, with `everywhere`, if a truth has fewer proper candidates than it takes.
    """
    truths = scene.valid()
    in_box, in_center = {}, {}
    for p, point in enumerate(scene.points):
        for g in truths:
            in_box[p, g] = region != "center" and inside(point, scene.boxes[g])
            in_center[p, g] = inside(point, square(scene.boxes[g], center_radius * point.stride))
    foreground = [p for p in range(len(scene.points)) if any(in_box[p, g] or in_center[p, g] for g in truths)]

    entries: dict[tuple[int, int], Entry] = {}
    for p in foreground:
        for g in truths:
            own = in_box[p, g] or in_center[p, g]
            proper = in_center[p, g] and (in_box[p, g] or region == "center")
            if own or everywhere:
                value = cls_weight * _cls_cost(scene, p, g, cost) + iou_weight * _box_cost(scene, p, g, cost)
                shape = scene.iou(p, g) if cost == "bce" else (scene.predicted[p], scene.boxes[g])
                inputs = (proper, scene.scores[p], scene.labels[g], shape)
                entries[p, g] = Entry(value + (0.0 if proper else PENALTY), inputs, p)

    claims: dict[int, list[int]] = {}
    for g in truths:
        k = _dynamic_k([scene.iou(p, g) for p in foreground], candidate_topk)
        mine = [entries[p, g] for p in foreground if (p, g) in entries]
        if everywhere and sum(entry.value < PENALTY / 2 for entry in mine) < k:
            raise UndecidedError
        for p in lowest(mine, k, _close):
            claims.setdefault(p, []).append(g)

    owner = winners(claims, entries, truths, _close)
    return {p: (g, scene.iou(p, g), 1.0) for p, g in owner.items()}


def _close(a: float, b: float) -> bool:
    # float32 near 1e5 has steps of 1/128, and costs below 200 have steps of 1.5e-5.
    return abs(a - b) <= (0.03 if max(a, b) > PENALTY / 2 else 3e-4)


def _dynamic_k(ious: list[float], candidate_topk: int) -> int:
    best = sorted(ious, reverse=True)[:candidate_topk]
    total = math.fsum(best)
    if abs(total - round(total)) < 1e-5 and any(value not in (0.0, 1.0) for value in best):
        raise UndecidedError
    return max(1, math.floor(total))


def _log(p: float) -> float:
    """Floored at -100, as torch's own binary cross entropy has it."""
    return max(math.log(p), -100.0) if p > 0 else -100.0


def _bce(p: float, target: float) -> float:
    return -(target * _log(p) + (1 - target) * _log(1 - p))


def _negative(p: float) -> float:
    return 0.75 * p**2 * _bce(p, 0.0)


def _cls_cost(scene: Scene, point: int, truth: int, cost: str) -> float:
    total = 0.0
    for label, p in enumerate(scene.scores[point]):
        is_class = label == scene.labels[truth]
        target = scene.iou(point, truth)
        if cost == "bce":
            total += _bce(p, float(is_class))
        elif is_class and target > 0:
            total += target * _bce(p, target)
        else:
            total += _negative(p)
    return total


def _box_cost(scene: Scene, point: int, truth: int, cost: str) -> float:
    if cost == "bce":
        return -math.log(scene.iou(point, truth) + 1e-7)
    return 1.0 - giou(scene.predicted[point], scene.boxes[truth])
