"""DETR's matching on the points inside each truth, one image at a time (arXiv 2005.12872, section 3.1)."""

from tests.oracles.poto import only_best
from tests.oracles.scene import Assigned, Entry, Scene, giou_or_worst, inside, lowest, square

MISSED = -1e6
WORST = 100.0


def hungarian(
    scene: Scene,
    class_weight: float = 1.0,
    l1_weight: float = 5.0,
    giou_weight: float = 2.0,
    center_radius: float | None = None,
    progress: float = 0.0,
) -> Assigned:
    """First choices where no two truths have the same one, else the matching with the smallest sum.

    Raises:
        UndecidedError: if another matching has about the same sum.
    """
    weights = class_weight, l1_weight, giou_weight
    table = {}
    for truth in scene.valid():
        row = {}
        for point, place in enumerate(scene.points):
            box = scene.boxes[truth]
            near = center_radius is None or inside(place, square(box, center_radius * place.stride))
            if near and inside(place, box):
                row[point] = -cost(scene, point, truth, *weights)
        if row:
            table[truth] = row
    first = {}
    for truth, row in table.items():
        entries = [Entry(-v, (scene.score(p, truth), scene.predicted[p]), p) for p, v in row.items()]
        first[truth] = lowest(entries, 1)[0]
    if len(set(first.values())) == len(first):
        return {point: (truth, 1.0, 1.0) for truth, point in first.items()}
    return {point: (truth, 1.0, 1.0) for truth, point in only_best(table, MISSED).items()}


def cost(
    scene: Scene, point: int, truth: int, class_weight: float, l1_weight: float, giou_weight: float
) -> float:
    """In centre, width and height, as the paper has it."""
    found, box = scene.predicted[point], scene.boxes[truth]
    overlap = giou_or_worst(found, box)
    height, width = scene.size
    distance = 0.0
    for axis, extent in ((0, width), (1, height)):
        middles = [(b[axis] + b[axis + 2]) / 2 / extent for b in (found, box)]
        sides = [(b[axis + 2] - b[axis]) / extent for b in (found, box)]
        distance += abs(middles[0] - middles[1]) + abs(sides[0] - sides[1])
    total = l1_weight * distance - class_weight * scene.score(point, truth) - giou_weight * overlap
    return min(total, WORST) if total == total else WORST
