"""RetinaNet's matching with square anchors, point by point (arXiv 1708.02002, section 4)."""

from tests.oracles.scene import Assigned, Entry, Scene, UndecidedError, Weighted, iou, lowest, near, square


def max_iou(
    scene: Scene,
    positive: float = 0.5,
    negative: float = 0.4,
    anchor_scale: float = 4.0,
    scales: int = 3,
    force_match: bool = True,
    progress: float = 0.0,
) -> Assigned:
    truths = scene.valid()
    table = {
        t: [best_iou(scene, p, t, anchor_scale, scales) for p in range(len(scene.points))] for t in truths
    }
    owner: Assigned = {}
    background: dict[int, float] = {}
    for point in range(len(scene.points)):
        entries = [Entry(-table[t][point], table[t][point], t) for t in truths]
        if not entries or min(entry.value for entry in entries) == 0:
            continue
        best = lowest(entries, 1)[0]
        for limit in (positive, negative):
            if table[best][point] != limit and near(table[best][point], limit):
                raise UndecidedError
        if table[best][point] >= positive:
            owner[point] = (best, 1.0, 1.0)
        elif table[best][point] >= negative:
            background[point] = 0.0
    forced: dict[int, list[int]] = {}
    for t in truths if force_match else ():
        if max(table[t]) > 0:
            point = lowest([Entry(-value, value, p) for p, value in enumerate(table[t])], 1)[0]
            forced.setdefault(point, []).append(t)
    for point, claims in forced.items():
        best = lowest([Entry(-table[t][point], table[t][point], t) for t in claims], 1)[0]
        owner[point] = (best, 1.0, 1.0)
        background.pop(point, None)
    return Weighted(owner, background)


def best_iou(scene: Scene, point: int, truth: int, anchor_scale: float, scales: int) -> float:
    place = scene.points[point]
    sides = [round(64 * anchor_scale * 2 ** (step / scales)) / 64 * place.stride for step in range(scales)]
    anchors = [square((place.x, place.y, place.x, place.y), side / 2) for side in sides]
    return max(iou(anchor, scene.boxes[truth]) for anchor in anchors)
