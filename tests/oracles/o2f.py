"""O2F, one image, one truth and one point at a time (arXiv 2303.11567)."""

from tests.oracles.scene import Assigned, Entry, Scene, inside, lowest, square


def o2f(
    scene: Scene,
    topk: int = 7,
    alpha: float = 0.8,
    center_radius: float = 1.5,
    t_max: float = 0.6,
    t_min: float = 0.2,
    soft_weight: float = 0.4,
    progress: float = 0.0,
) -> Assigned:
    def ranked(point: int, truth: int, index: int) -> Entry:
        p, overlap = scene.score(point, truth), scene.iou(point, truth)
        quality = p ** (1 - alpha) * overlap**alpha
        return Entry(-quality, (p, overlap) if quality else (), index)

    claims: dict[int, list[int]] = {}
    for truth in scene.valid():
        box = scene.boxes[truth]
        entries = []
        for point, place in enumerate(scene.points):
            zone = square(box, center_radius * place.stride)
            if inside(place, box) and inside(place, zone) and scene.iou(point, truth) > 0:
                entries.append(ranked(point, truth, point))
        for point in lowest(entries, topk):
            claims.setdefault(point, []).append(truth)

    points_of: dict[int, list[int]] = {}
    for point, claimants in claims.items():
        owner = lowest([ranked(point, truth, truth) for truth in claimants], 1)[0]
        points_of.setdefault(owner, []).append(point)

    temperature = t_max + (t_min - t_max) * progress
    assigned: Assigned = {}
    for truth, points in points_of.items():
        certain = lowest([ranked(point, truth, point) for point in points], 1)[0]
        assigned[certain] = (truth, 1.0, 1.0)
        soft = [point for point in points if point != certain]
        largest = max((scene.score(point, truth) for point in soft), default=0.0)
        for point in soft:
            share = scene.score(point, truth) / largest if largest > 0 else 0.0
            assigned[point] = (truth, share * temperature, soft_weight)
    return assigned
