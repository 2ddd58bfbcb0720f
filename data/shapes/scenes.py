"""Plans the pictures of `ShapesDataset` and tells what can be seen in them.

A scene is planned first and drawn into an owner map, which says for every pixel which shape is on top. Truth
and colours (painting.py) both follow from that map, so the truth of a validation set needs no colours.

Shape legend:
    N planned shapes in drawing order, Q groups of them, V outline vertices, S side of the picture in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

_MIN_SIDE, _MAX_SIDE = 0.08, 0.7  # of the picture, as most objects of COCO
_MIN_VISIBLE = 0.25
_MIN_PIXELS = 3  # a thinner sliver is not recognisable, so it is no truth
_GOLDEN_ANGLE = 2.399963


def _ellipse(start: float = 0.0, turn: float = 1.0, radius: float = 0.5, steps: int = 32) -> np.ndarray:
    angle = np.linspace(start, start + turn, steps + 1) * 2 * np.pi
    return np.stack((np.cos(angle), np.sin(angle)), axis=1) * radius


def _star(points: int, inner: float) -> np.ndarray:
    radius = np.where(np.arange(2 * points) % 2, inner, 0.5)[:, None]
    return _ellipse(start=-0.25, steps=2 * points)[:-1] * 2 * radius


# Vertices in a square of side 1 around the origin.
OUTLINES: dict[str, np.ndarray] = {
    "circle": _ellipse(),
    "square": np.array([(-0.45, -0.45), (0.45, -0.45), (0.45, 0.45), (-0.45, 0.45)]),
    "triangle": np.array([(0.0, -0.5), (0.5, 0.42), (-0.5, 0.42)]),
    "star": _star(points=5, inner=0.21),
    "cross": np.array([(x, y) for x, y in (
        (-0.16, -0.5), (0.16, -0.5), (0.16, -0.16), (0.5, -0.16), (0.5, 0.16), (0.16, 0.16),
        (0.16, 0.5), (-0.16, 0.5), (-0.16, 0.16), (-0.5, 0.16), (-0.5, -0.16), (-0.16, -0.16))]),
    "ring": np.concatenate((_ellipse(), _ellipse(turn=-1.0, radius=0.28))),
    "crescent": np.concatenate((_ellipse(0.1, 0.8), _ellipse(-0.14, -0.72, 0.42) + np.array((0.14, 0.0)))),
    "arrow": np.array([(-0.5, -0.15), (0.02, -0.15), (0.02, -0.45), (0.5, 0.0), (0.02, 0.45), (0.02, 0.15),
                       (-0.5, 0.15)]),
}  # fmt: skip


def _area(outline_V2: np.ndarray) -> float:
    x, y = outline_V2.T  # the shoelace formula
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


NAMES = tuple(OUTLINES)
_VERTICES = tuple(OUTLINES.values())
_UNIT_AREA = np.array([_area(outline) for outline in _VERTICES])


@dataclass(frozen=True)
class Scene:
    """Shapes in drawing order: later ones cover earlier ones.

    Attributes:
        labels_N: int64, index into NAMES.
        centers_N2, sides_N2: x and y in pixels.
        angles_N: radians.
        groups_N: int64, shapes of one group have one colour (but for a little variation).
    """

    labels_N: np.ndarray
    centers_N2: np.ndarray
    sides_N2: np.ndarray
    angles_N: np.ndarray
    groups_N: np.ndarray


def plan(rng: np.random.Generator, size: int, crowd: float) -> Scene:
    """1 to 8 scattered shapes and, as `crowd` grows from 0 to 1, two clusters of equal shapes (46 to 66)."""
    count = int(rng.integers(1, 9))
    side = _MIN_SIDE * (_MAX_SIDE / _MIN_SIDE) ** rng.random(count)
    scattered = Scene(
        labels_N=rng.integers(0, len(NAMES), count),
        centers_N2=0.3 * side[:, None] + rng.random((count, 2)) * (1 - 0.6 * side[:, None]),
        sides_N2=_with_aspect(side, rng.normal(0, 0.2, count)),
        angles_N=rng.normal(0, 0.3, count),
        groups_N=np.arange(count),
    )
    members = round(crowd * int(rng.integers(46, 67)))
    if members == 0:
        return _back_to_front(rng, scattered, size)
    first = _cluster(rng, members - members // 3, group=count)
    second = _cluster(rng, members // 3, group=count + 1)
    parts = [vars(scene).values() for scene in (scattered, first, second)]
    return _back_to_front(rng, Scene(*(np.concatenate(column) for column in zip(*parts, strict=True))), size)


def _back_to_front(rng: np.random.Generator, scene: Scene, size: int) -> Scene:
    # Large ones mostly lie behind small ones, or the small ones would rarely be seen.
    rank = np.sqrt(scene.sides_N2.prod(axis=1)) * np.exp(rng.normal(0, 0.35, len(scene.labels_N)))
    order = np.argsort(-rank, kind="stable")
    labels, centers, sides, angles, groups = (column[order] for column in vars(scene).values())
    return Scene(labels, centers * size, sides * size, angles, groups)


def _cluster(rng: np.random.Generator, count: int, group: int) -> Scene:
    """Equal shapes on a jittered sunflower spiral, so close that neighbours overlap."""
    side = rng.uniform(0.08, 0.14)
    spacing = side * rng.uniform(0.33, 0.45)  # of the spiral; neighbours are about 1.8 times as far apart
    ranks = np.arange(count)
    radius, angle = spacing * np.sqrt(ranks), ranks * _GOLDEN_ANGLE + rng.random() * 7
    offset = np.stack((np.cos(angle), np.sin(angle)), axis=1) * radius[:, None]
    offset += rng.normal(0, 0.2 * side, (count, 2))
    reach = spacing * np.sqrt(max(count, 1)) + side / 2
    middle = reach + rng.random(2) * max(0.0, 1 - 2 * reach) if reach < 0.5 else np.full(2, 0.5)
    sides = side * np.exp(rng.normal(0, 0.08, count))
    upright = rng.random() < 0.5
    return Scene(
        labels_N=np.full(count, rng.integers(0, len(NAMES))),
        centers_N2=(middle + offset).clip(0.03, 0.97),
        sides_N2=_with_aspect(sides, np.full(count, rng.normal(0, 0.2))),
        angles_N=rng.normal(0, 0.1 if upright else 0.4, count),
        groups_N=np.full(count, group),
    )


def _with_aspect(side: np.ndarray, log_aspect: np.ndarray) -> np.ndarray:
    return np.stack((side * np.exp(log_aspect), side * np.exp(-log_aspect)), axis=1)


def owner_map(scene: Scene, size: int) -> np.ndarray:
    """(S, S) int64: 0 where there is background, else 1 + the row of the shape on top."""
    canvas = Image.new("I", (size, size))
    draw = ImageDraw.Draw(canvas)
    cos, sin = np.cos(scene.angles_N), np.sin(scene.angles_N)
    for row, label in enumerate(scene.labels_N.tolist()):
        x, y = (_VERTICES[label] * scene.sides_N2[row]).T
        center_x, center_y = scene.centers_N2[row]
        points = np.stack(
            (x * cos[row] - y * sin[row] + center_x, x * sin[row] + y * cos[row] + center_y), axis=1
        )
        draw.polygon(points.ravel().tolist(), fill=row + 1)
    return np.asarray(canvas).astype(np.int64)


def visible_truth(scene: Scene, owner_SS: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What can still be seen.

    Returns:
        xyxy boxes around the visible pixels (float32), labels (int64) and the number of visible pixels
        (int64), for every shape of which a quarter or more is visible.
    """
    bins, size = len(scene.labels_N) + 1, len(owner_SS)
    steps = np.arange(size)
    in_row_NS = np.bincount((owner_SS * size + steps[:, None]).ravel(), minlength=bins * size)
    in_column_NS = np.bincount((owner_SS * size + steps).ravel(), minlength=bins * size)
    x1, x2 = _extent(in_column_NS.reshape(bins, size)[1:] > 0)
    y1, y2 = _extent(in_row_NS.reshape(bins, size)[1:] > 0)
    pixels_N = in_row_NS.reshape(bins, size)[1:].sum(axis=1)
    full_N = _UNIT_AREA[scene.labels_N] * scene.sides_N2.prod(axis=1)
    keep_N = (
        (pixels_N >= _MIN_VISIBLE * full_N) & (np.minimum(x2 - x1, y2 - y1) >= _MIN_PIXELS) & (pixels_N > 0)
    )
    boxes_N4 = np.stack((x1, y1, x2, y2), axis=1).astype(np.float32)
    return boxes_N4[keep_N], scene.labels_N[keep_N], pixels_N[keep_N]


def _extent(seen_NS: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first step that is seen and the one after the last."""
    return seen_NS.argmax(axis=1), seen_NS.shape[1] - seen_NS[:, ::-1].argmax(axis=1)
