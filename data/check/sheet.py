"""A contact sheet: some images of a set with their boxes, such that every class is seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from data.coco.dataset import CocoDataset

_TILE, _COLUMNS, _ROWS = 320, 5, 4  # px, tiles
_COLORS = ("#e6194b", "#3cb44b", "#ffe119", "#4363d8", "#f58231", "#911eb4", "#46f0f0", "#f032e6", "#bcf60c")


def contact_sheet(dataset: CocoDataset, seed: int = 0) -> Image.Image:
    """Up to 20 images: one of each class as far as they fit, the rarest first, then others at random."""
    sheet = Image.new("RGB", (_COLUMNS * _TILE, _ROWS * _TILE), "white")
    for place, row in enumerate(_chosen(dataset, _COLUMNS * _ROWS, seed)):
        corner = place % _COLUMNS * _TILE, place // _COLUMNS * _TILE
        sheet.paste(_tile(dataset, row), corner)
    return sheet


def _chosen(dataset: CocoDataset, count: int, seed: int) -> list[int]:
    truth = dataset.truth
    rng = np.random.Generator(np.random.PCG64(seed))
    images_of = [truth.image_A[truth.labels_A == label] for label in range(len(dataset.class_names))]
    rows: dict[int, None] = {}
    for images in sorted((images for images in images_of if len(images)), key=len):
        if len(rows) < count:
            rows[int(rng.choice(images))] = None
    for row in rng.permutation(len(dataset)).tolist():
        if len(rows) < count:
            rows[row] = None
    return sorted(rows)


def _tile(dataset: CocoDataset, row: int) -> Image.Image:
    """A square with the image and the boxes of all annotations, crowds with a thinner line."""
    truth = dataset.truth
    tile = Image.new("RGB", (_TILE, _TILE), "white")
    try:
        with Image.open(dataset.folder / str(truth.file_names_I[row])) as file:
            picture = file.convert("RGB")
    except Exception:  # decoders raise nearly anything
        ImageDraw.Draw(tile).text((8, 8), f"unreadable: {truth.file_names_I[row]}", "red")
        return tile
    scale = (_TILE - 4) / max(picture.size)
    picture = picture.resize([max(1, round(side * scale)) for side in picture.size])
    draw = ImageDraw.Draw(picture)
    begin, end = truth.start_I[row : row + 2]
    for annotation in range(begin, end):
        x1, y1, x2, y2 = (dataset.xyxy_A4[annotation] * scale).tolist()
        if x2 <= x1 or y2 <= y1:
            continue
        label = int(truth.labels_A[annotation])
        color = _COLORS[label % len(_COLORS)]
        draw.rectangle((x1, y1, x2, y2), outline=color, width=1 if truth.crowd_A[annotation] else 2)
        draw.text((x1 + 3, y1 + 1), dataset.class_names[label], color)
    tile.paste(picture, (0, 0))
    return tile


def save(sheet: Image.Image, path: Path) -> None:
    """Writes the sheet, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, quality=90)
