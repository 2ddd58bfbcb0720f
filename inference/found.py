"""What was found in one image.

Shape legend: N detections.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from inference.record import Record


@dataclass(frozen=True)
class Found:
    """The detections of one image, best first.

    Attributes:
        boxes_N4: float64 xyxy, pixels of the original image, clipped to it.
        scores_N: float32 in [0, 1].
        labels_N: int64, the row of each class in the record.
        size: (height, width) of the original image.
        record: names the classes.
        problem: why the image could not be read, else None; it then has no detections and the size (0, 0).
    """

    boxes_N4: np.ndarray
    scores_N: np.ndarray
    labels_N: np.ndarray
    size: tuple[int, int]
    record: Record
    problem: str | None = None

    def __len__(self) -> int:
        return len(self.labels_N)

    def __getitem__(self, index: Any) -> Found:
        """The detections that a slice, a mask or an array of indices names."""
        kept = {name: getattr(self, name)[index] for name in ("boxes_N4", "scores_N", "labels_N")}
        return replace(self, **kept)

    @property
    def names(self) -> list[str]:
        """The class of each detection."""
        return [self.record.classes[label] for label in self.labels_N.tolist()]

    def coco(self, image_id: int) -> list[dict[str, Any]]:
        """The detections as rows of COCO's results format."""
        boxes_N4 = self.boxes_N4.copy()
        boxes_N4[:, 2:] -= boxes_N4[:, :2]
        category = self.record.category_ids
        columns = zip(boxes_N4.tolist(), self.scores_N.tolist(), self.labels_N.tolist(), strict=True)
        return [
            {"image_id": image_id, "category_id": category[label], "bbox": box, "score": score}
            for box, score, label in columns
        ]


def unreadable(problem: str, record: Record) -> Found:
    """The result of an image that could not be read."""
    return Found(np.zeros((0, 4)), np.zeros(0, np.float32), np.zeros(0, np.int64), (0, 0), record, problem)


def to_original(boxes_N4: np.ndarray, size: tuple[int, int], original: tuple[int, int]) -> np.ndarray:
    """Boxes in pixels of the original image, clipped to it.

    Args:
        boxes_N4: xyxy in pixels of the network input.
        size: (height, width) of the image inside the network input.
        original: (height, width) of the image before resizing.
    """
    limit_4 = np.array([original[1], original[0]] * 2, dtype=np.float64)
    scale_4 = limit_4 / np.array([size[1], size[0]] * 2, dtype=np.float64)
    return np.clip(boxes_N4.astype(np.float64) * scale_4, 0, limit_4)
