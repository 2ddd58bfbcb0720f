"""Colours the owner map of a scene.

Shape legend:
    N shapes in drawing order, Q groups of them, S side of the picture in pixels.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from data.shapes.scenes import Scene

# One period of a sine times 128. Whole numbers, since the last bit of a sine differs between machines.
_WAVE = np.round(128 * np.sin(np.arange(256) * (2 * np.pi / 256))).astype(np.int16)


# Each class has a typical colour, as many real objects do: it makes classes learnable in minutes. Shapes of a
# class vary widely around it, and background and clutter know no such rule.
_COLORS = np.array(
    ((220, 50, 50), (50, 90, 220), (60, 190, 70), (235, 210, 50), (160, 60, 190), (240, 140, 40),
     (60, 200, 210), (235, 120, 180)), dtype=np.int16)  # fmt: skip


def paint(rng: np.random.Generator, scene: Scene, owner_SS: np.ndarray) -> np.ndarray:
    """(3, S, S) uint8: the coloured picture of an owner map, on a cluttered and noisy background."""
    size = len(owner_SS)
    background = _background(rng, size)
    # Of three shades each group takes the one that stands out most from what one of its shapes lies on.
    member_Q = np.zeros(scene.groups_N.max() + 1, dtype=np.int64)
    member_Q[scene.groups_N] = np.arange(len(scene.groups_N))
    x_Q, y_Q = scene.centers_N2[member_Q].astype(np.int64).clip(0, size - 1).T
    typical_Q13 = _COLORS[scene.labels_N[member_Q], None]
    choices_Q33 = typical_Q13 + rng.integers(-35, 36, (len(member_Q), 3, 3), dtype=np.int16)
    contrast_Q3 = np.abs(choices_Q33 - background[y_Q, x_Q, None]).sum(axis=2)
    color_Q3 = choices_Q33[np.arange(len(member_Q)), contrast_Q3.argmax(axis=1)]
    color_N3 = color_Q3[scene.groups_N] + rng.integers(-18, 19, (len(scene.groups_N), 3), dtype=np.int16)
    # Stripes and shading: one wave over the picture, of another strength on every shape.
    direction, period = rng.random() * 2 * np.pi, size * 0.03 * 20 ** rng.random()
    steps = np.arange(size) * (len(_WAVE) / period)
    phase_SS = (np.cos(direction) * steps[:, None] + np.sin(direction) * steps).astype(np.int64) & 255
    strength_N = rng.choice(np.array((0, 0, 15, 30, 45), dtype=np.int16), len(color_N3))
    shade_SS = _WAVE[phase_SS] * np.take(np.append(np.int16(0), strength_N), owner_SS) >> 7
    # A rim, which separates equal shapes in a crowd.
    rim = np.int16(rng.integers(0, 70))
    shade_SS[1:] -= rim * (owner_SS[1:] != owner_SS[:-1])
    shade_SS[:, 1:] -= rim * (owner_SS[:, 1:] != owner_SS[:, :-1])
    noise = int(rng.integers(1, 14))
    shade_SS += rng.integers(-noise, noise + 1, owner_SS.shape, dtype=np.int8)

    palette_3N = np.concatenate((np.zeros((1, 3), np.int16), color_N3)).T
    picture_3SS = np.take(palette_3N, owner_SS, axis=1)
    np.copyto(picture_3SS, background.transpose(2, 0, 1), where=owner_SS == 0)
    picture_3SS += shade_SS
    return picture_3SS.clip(0, 255).astype(np.uint8)


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """(S, S, 3) uint8: smooth blobs around a random colour, with lines and arcs that belong to no class."""
    cells = int(rng.integers(2, 10))
    spread = int(rng.integers(5, 70))
    blobs = rng.integers(30, 226, 3) + rng.integers(-spread, spread + 1, (cells, cells, 3))
    image = Image.fromarray(blobs.clip(0, 255).astype(np.uint8)).resize(
        (size, size), Image.Resampling.BICUBIC
    )
    draw = ImageDraw.Draw(image)
    for x1, y1, x2, y2, kind, *color in rng.random((int(rng.integers(0, 6)), 8)).tolist():
        fill = tuple(int(256 * channel) for channel in color)
        width = 1 + int(kind * 7919 % 1 * size / 50)
        if kind < 0.6:
            draw.line((x1 * size, y1 * size, x2 * size, y2 * size), fill=fill, width=width)
        else:
            box = (min(x1, x2) * size, min(y1, y2) * size, max(x1, x2) * size, max(y1, y2) * size)
            draw.arc(box, 360 * color[0], 360 * color[0] + 180, fill=fill, width=width)
    return np.asarray(image)
