"""What a data set holds and what training would leave out of it.

Shape legend: I images, A annotations, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.coco.dataset import CocoDataset

_SIZES = (32.0**2, 96.0**2)  # px^2: COCO's borders between small, medium and large


@dataclass(frozen=True)
class Facts:
    """One split.

    Attributes:
        images, boxes: numbers; boxes are those to learn from.
        size: the smallest, the median and the largest image as (width, height), by area.
        portraits: share of the images that are higher than wide.
        boxes_per_image: quantiles 0, 0.5, 0.95 and 1.
        side: quantiles 0, 0.5 and 1 of sqrt(width x height) of the boxes as the network sees them, in px.
        small, medium, large: shares of the boxes by COCO's borders, as the network sees them.
        boxes_C: boxes of each class.
        crowds, without_area, vanishing: annotations that training leaves out: crowd boxes, boxes without area
            inside their image, and boxes whose side is below one pixel for the network.
        empty: images without a box to learn from.
    """

    images: int
    boxes: int
    size: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    portraits: float
    boxes_per_image: tuple[int, int, int, int]
    side: tuple[float, float, float]
    small: float
    medium: float
    large: float
    boxes_C: dict[str, int]
    crowds: int
    without_area: int
    vanishing: int
    empty: int


def facts(dataset: CocoDataset) -> Facts:
    """The facts of a split whose transform resizes to the size of evaluation."""
    truth, boxes_A4, solid_A = dataset.truth, dataset.xyxy_A4, dataset.solid_A
    scale_of: dict[tuple[int, int], tuple[float, float]] = {}  # of width and height
    for row, (height, width) in enumerate(truth.size_I2.tolist()):
        if (height, width) not in scale_of:
            rows, columns = dataset.planned(row).image.shape[1:]
            scale_of[height, width] = columns / width, rows / height
    scale_I2 = np.array([scale_of[height, width] for height, width in truth.size_I2.tolist()])
    learnt_A = solid_A & ~truth.crowd_A
    sides_A2 = (boxes_A4[:, 2:] - boxes_A4[:, :2]) * scale_I2[truth.image_A]
    seen_A = learnt_A & (sides_A2 >= 1).all(axis=1)
    area = sides_A2[seen_A].prod(axis=1)
    count_I = np.bincount(truth.image_A[seen_A], minlength=len(truth.size_I2))
    small, medium = (float((area < border).mean()) if len(area) else 0.0 for border in _SIZES)
    order = np.argsort(truth.size_I2.prod(axis=1), kind="stable")
    sizes = [
        (int(truth.size_I2[row, 1]), int(truth.size_I2[row, 0])) for row in order[[0, len(order) // 2, -1]]
    ]
    quantiles = np.quantile(np.sqrt(area), (0, 0.5, 1)).tolist() if len(area) else [0.0] * 3
    return Facts(
        images=len(dataset),
        boxes=int(seen_A.sum()),
        size=(sizes[0], sizes[1], sizes[2]),
        portraits=float((truth.size_I2[:, 0] > truth.size_I2[:, 1]).mean()),
        boxes_per_image=tuple(np.quantile(count_I, (0, 0.5, 0.95, 1), method="higher").tolist()),
        side=tuple(quantiles),
        small=small,
        medium=medium - small,
        large=1 - medium if len(area) else 0.0,
        boxes_C=dict(
            zip(
                dataset.class_names,
                np.bincount(truth.labels_A[seen_A], minlength=len(dataset.class_names)).tolist(),
                strict=True,
            )
        ),
        crowds=int(truth.crowd_A.sum()),
        without_area=int((~solid_A & ~truth.crowd_A).sum()),
        vanishing=int((learnt_A & ~seen_A).sum()),
        empty=int((count_I == 0).sum()),
    )
