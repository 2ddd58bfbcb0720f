"""TaskAligned, one image, one truth and one point at a time (TOOD, arXiv 2108.07755)."""

from tests.oracles.scene import Assigned, Entry, Scene, UndecidedError, inside, lowest

SMALLEST = 1e-9


def task_aligned(
    scene: Scene,
    topk: int = 13,
    alpha: float = 1.0,
    beta: float = 6.0,
    candidates: str = "inside",
    reach: float | None = None,
    keep: int | None = None,
    min_side: float = 0.0,
    min_points: int = 0,
    progress: float = 0.0,
) -> Assigned:
    def alignment(point: int, truth: int) -> float:
        return scene.score(point, truth) ** alpha * scene.iou(point, truth) ** beta

    def suits(point: int, truth: int) -> bool:
        place, (x1, y1, x2, y2) = scene.points[point], scene.boxes[truth]
        farthest = max(place.x - x1, place.y - y1, x2 - place.x, y2 - place.y)
        dx, dy = (max(0.0, min_side - side) / 2 for side in (x2 - x1, y2 - y1))
        zone = (x1 - dx, y1 - dy, x2 + dx, y2 + dy)
        return inside(place, zone) and (reach is None or farthest <= reach * place.stride)

    def entry(point: int, truth: int, index: int | None = None) -> Entry:
        t = alignment(point, truth)
        parts = (scene.score(point, truth), scene.iou(point, truth)) if t else ()
        return Entry(-t, parts, point if index is None else index)

    claims: dict[int, list[int]] = {}
    for truth in scene.valid():
        entries = []
        for point in range(len(scene.points)):
            t = alignment(point, truth)
            if abs(t - SMALLEST) < 1e-4 * SMALLEST:
                raise UndecidedError
            if t > SMALLEST and (suits(point, truth) or candidates == "everywhere"):
                entries.append(Entry(-t, (scene.score(point, truth), scene.iou(point, truth)), point))
        for point in lowest(entries, topk):
            if suits(point, truth):
                claims.setdefault(point, []).append(truth)

    owner: dict[int, int] = {}
    for point, claimants in claims.items():
        rivals = claimants
        if len(claimants) > 1 and candidates == "inside":
            rivals = [truth for truth in scene.valid() if suits(point, truth)]
        ious = {truth: scene.iou(point, truth) for truth in rivals}
        owner[point] = lowest([Entry(-value, value, truth) for truth, value in ious.items()], 1)[0]

    if keep is not None:
        for truth in scene.valid():
            entries = [entry(point, truth) for point, its in owner.items() if its == truth]
            kept = lowest(entries, keep)
            owner = {point: its for point, its in owner.items() if its != truth or point in kept}

    while min_points:
        asked: dict[int, list[int]] = {}
        for truth in scene.valid():
            if list(owner.values()).count(truth) < min_points:
                free = [p for p in range(len(scene.points)) if p not in owner and suits(p, truth)]
                for point in lowest([entry(p, truth) for p in free], 1):
                    asked.setdefault(point, []).append(truth)
        if not asked:
            break
        for point, rivals in asked.items():
            owner[point] = lowest([entry(point, truth, truth) for truth in rivals], 1)[0]

    assigned: Assigned = {}
    for point, truth in owner.items():
        points = [other for other, its in owner.items() if its == truth]
        best_t = max(alignment(other, truth) for other in points)
        best_iou = max(scene.iou(other, truth) for other in points)
        score = alignment(point, truth) / best_t * best_iou if best_t > 0 else 0.0
        assigned[point] = (truth, score, 1.0)
    return assigned
