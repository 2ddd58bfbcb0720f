"""The annotations of a COCO-format set as flat arrays.

Flat arrays, because a list of dicts would be copied into every loader worker as its reference counts change.

Shape legend: I images, A annotations of all images, sorted by image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Annotations:
    """A COCO-format annotation file.

    Attributes:
        class_names, category_ids: label i stands for category_ids[i]; sorted by category id.
        supercategories: of each label, None where the file names none.
        image_ids_I: int64.
        file_names_I: str, relative to the image folder.
        size_I2: int64, (height, width).
        start_I: int64, I + 1 entries: the annotations of image i are the rows start_I[i] to start_I[i + 1].
        xywh_A4: float64, as in the file, not clipped.
        area_A: float64, as in the file, else width times height.
        labels_A: int64.
        crowd_A: bool.
        ids_A: int64, the annotation ids of the file, for messages.
    """

    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    supercategories: tuple[str | None, ...]
    image_ids_I: np.ndarray
    file_names_I: np.ndarray
    size_I2: np.ndarray
    start_I: np.ndarray
    xywh_A4: np.ndarray
    area_A: np.ndarray
    labels_A: np.ndarray
    crowd_A: np.ndarray
    ids_A: np.ndarray

    @property
    def image_A(self) -> np.ndarray:
        """(A,) int64: the row of each annotation's image."""
        return np.repeat(np.arange(len(self.image_ids_I)), np.diff(self.start_I))

    def with_annotations(self, keep_A: np.ndarray) -> Annotations:
        """All images, and the annotations that `keep_A` (A,) bool selects."""
        count_I = np.bincount(self.image_A[keep_A], minlength=len(self.image_ids_I))
        return replace(
            self,
            start_I=np.concatenate(([0], count_I.cumsum())).astype(np.int64),
            xywh_A4=self.xywh_A4[keep_A],
            area_A=self.area_A[keep_A],
            labels_A=self.labels_A[keep_A],
            crowd_A=self.crowd_A[keep_A],
            ids_A=self.ids_A[keep_A],
        )

    def with_images(self, keep_I: np.ndarray) -> Annotations:
        """The images that `keep_I` (I,) bool selects, with their annotations."""
        kept = self.with_annotations(keep_I[self.image_A])
        return replace(
            kept,
            image_ids_I=self.image_ids_I[keep_I],
            file_names_I=self.file_names_I[keep_I],
            size_I2=self.size_I2[keep_I],
            start_I=np.concatenate(([0], np.diff(kept.start_I)[keep_I].cumsum())).astype(np.int64),
        )

    def to_json(self) -> dict[str, Any]:
        """The COCO dict for pycocotools, with annotations numbered from 1.

        They are numbered anew since COCOeval takes a truth with id 0 for one that was not matched. Boxes that
        are not finite are left out, because no IoU can be computed with them.
        """
        image_A = self.image_ids_I[self.image_A].tolist()
        columns = (
            self.labels_A,
            self.xywh_A4,
            self.area_A,
            self.crowd_A,
            np.isfinite(self.xywh_A4).all(axis=1),
        )
        rows = zip(image_A, *(column.tolist() for column in columns), strict=True)
        annotations = [
            {"id": row + 1, "image_id": image, "category_id": self.category_ids[label], "bbox": box,
             "area": area, "iscrowd": int(crowd)}
            for row, (image, label, box, area, crowd, finite) in enumerate(rows) if finite
        ]  # fmt: skip
        images = [
            {"id": image, "file_name": name, "height": height, "width": width}
            for image, name, (height, width) in zip(
                self.image_ids_I.tolist(), self.file_names_I.tolist(), self.size_I2.tolist(), strict=True
            )
        ]
        pairs = zip(self.category_ids, self.class_names, strict=True)
        return {
            "info": {},  # pycocotools' loadRes asks for it
            "images": images,
            "annotations": annotations,
            "categories": [{"id": category, "name": name} for category, name in pairs],
        }
