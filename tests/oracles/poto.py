"""POTO, one image at a time, by a search over all points for every truth (DeFCN, arXiv 2012.03544)."""

import random

from tests.oracles.scene import Assigned, Entry, Scene, UndecidedError, inside, lowest, square

MISSED = -1.0
SWAY = 1e-4  # far above the rounding of float32, far below the differences that matter


def poto(scene: Scene, alpha: float = 0.8, center_radius: float = 1.5, progress: float = 0.0) -> Assigned:
    """First choices where no two truths have the same one, else the matching with the largest sum.

    Raises:
        UndecidedError: if another matching has about the same sum.
    """
    table = qualities(scene, alpha, center_radius)
    first = {}
    for truth, row in table.items():
        entries = [Entry(-q, (scene.score(p, truth), scene.iou(p, truth)), p) for p, q in row.items()]
        first[truth] = lowest(entries, 1)[0]
    if len(set(first.values())) == len(first):
        return {point: (truth, 1.0, 1.0) for truth, point in first.items()}
    return {point: (truth, 1.0, 1.0) for truth, point in only_best(table).items()}


def only_best(table: dict[int, dict[int, float]], missed: float = -1.0) -> dict[int, int]:
    """truth -> point of the matching with the largest sum.

    Raises:
        UndecidedError: if another matching has about the same sum.
    """
    # Of several best matchings, swaying all values at random and then the other way finds two different ones.
    drawn = random.Random(0)
    sway = {(t, p): SWAY * drawn.random() for t, row in table.items() for p in row}
    up, down = (
        best({t: {p: q + sign * sway[t, p] for p, q in row.items()} for t, row in table.items()}, missed)
        for sign in (1, -1)
    )
    if up != down:
        raise UndecidedError
    return up


def qualities(scene: Scene, alpha: float = 0.8, center_radius: float = 1.5) -> dict[int, dict[int, float]]:
    """The quality of every candidate of every truth that has one."""
    table: dict[int, dict[int, float]] = {}
    for truth in scene.valid():
        box = scene.boxes[truth]
        for point, place in enumerate(scene.points):
            central = inside(place, box) and inside(place, square(box, center_radius * place.stride))
            if central and scene.iou(point, truth) > 0:
                q = scene.score(point, truth) ** (1 - alpha) * scene.iou(point, truth) ** alpha
                table.setdefault(truth, {})[point] = q
    return table


def best(table: dict[int, dict[int, float]], missed: float = MISSED) -> dict[int, int]:
    """truth -> point of the matching with the largest sum: the Hungarian method on the full matrix.

    Each truth has one more column of its own, for going without, which counts `missed`.
    """
    points = sorted({point for row in table.values() for point in row})
    truths = sorted(table)
    cost = [
        [-table[t].get(p, -1e9) for p in points] + [-missed if u == t else 1e9 for u in truths]
        for t in truths
    ]
    columns = len(points) + len(truths)
    of_row, of_column = [0.0] * len(truths), [0.0] * columns
    owner: list[int | None] = [None] * columns
    for newcomer in range(len(truths)):
        slack, came_from = [float("inf")] * columns, [-1] * columns
        done: list[int] = []
        left = set(range(columns))
        row, last = newcomer, -1
        while True:
            for c in left:
                value = cost[row][c] - of_row[row] - of_column[c]
                if value < slack[c]:
                    slack[c], came_from[c] = value, last
            nearest = min(left, key=lambda c: (slack[c], c))
            step = slack[nearest]
            of_row[newcomer] += step
            for c in done:
                of_column[c] -= step
                of_row[_row(owner, c)] += step
            for c in left:
                slack[c] -= step
            left.remove(nearest)
            done.append(nearest)
            last = nearest
            if owner[nearest] is None:
                break
            row = _row(owner, nearest)
        while came_from[last] >= 0:
            owner[last] = owner[came_from[last]]
            last = came_from[last]
        owner[last] = newcomer
    return {truths[_row(owner, c)]: point for c, point in enumerate(points) if owner[c] is not None}


def _row(owner: list[int | None], column: int) -> int:
    row = owner[column]
    assert row is not None
    return row


def total(table: dict[int, dict[int, float]], chosen: dict[int, int]) -> float:
    """What a matching is worth."""
    return sum(table[truth][point] for truth, point in chosen.items()) + MISSED * (len(table) - len(chosen))
