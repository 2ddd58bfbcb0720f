"""O2F's labels for the positives of another oracle, one truth and one point at a time."""

from collections.abc import Callable
from functools import partial

from tests.oracles.scene import Assigned, Entry, Scene, lowest
from tests.oracles.task_aligned import task_aligned


def one_to_few(
    scene: Scene,
    positives: Callable[..., Assigned],
    alpha: float = 0.8,
    t_max: float = 0.6,
    t_min: float = 0.2,
    soft_weight: float = 0.4,
    progress: float = 0.0,
) -> Assigned:
    points_of: dict[int, list[int]] = {}
    for point, (truth, _, _) in positives(scene).items():
        points_of.setdefault(truth, []).append(point)
    assigned: Assigned = {}
    for truth, points in points_of.items():
        entries = []
        for point in points:
            p, overlap = scene.score(point, truth), scene.iou(point, truth)
            q = p ** (1 - alpha) * overlap**alpha
            entries.append(Entry(-q, (p, overlap) if q else (), point))
        certain = lowest(entries, 1)[0]
        largest = max((scene.score(point, truth) for point in points if point != certain), default=0.0)
        for point in points:
            share = scene.score(point, truth) / largest if largest > 0 else 0.0
            soft = (truth, share * (t_max * (1 - progress) + t_min * progress), soft_weight)
            assigned[point] = (truth, 1.0, 1.0) if point == certain else soft
    return assigned


tal_one_to_few = partial(one_to_few, positives=task_aligned)
