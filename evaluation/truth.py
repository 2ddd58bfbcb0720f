"""The ground truth of a data set in every form that an evaluation asks for; each form is built once.

Shape legend: A annotations.
"""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO

Floats = NDArray[np.float64]


class Truth:
    """A ground truth in COCO's format that is already in memory.

    Attributes:
        dataset: the COCO dict: images, annotations (bbox as x, y, width, height in pixels), categories.
    """

    def __init__(self, coco_json: dict[str, Any]) -> None:
        self.dataset: dict[str, Any] = {"info": {}, **coco_json}

    @cached_property
    def image_ids(self) -> list[int]:
        """In ascending order."""
        return sorted(image["id"] for image in self.dataset["images"])

    @cached_property
    def names(self) -> dict[int, str]:
        """Category id to class name."""
        return {category["id"]: category["name"] for category in self.dataset["categories"]}

    @cached_property
    def xywh_A4(self) -> Floats:
        """Boxes in pixels of the image."""
        return np.array([a["bbox"] for a in self.dataset["annotations"]], dtype=np.float64).reshape(-1, 4)

    @cached_property
    def crowd_A(self) -> NDArray[np.bool_]:
        """Crowd regions, which are no objects."""
        return np.array([bool(a.get("iscrowd", 0)) for a in self.dataset["annotations"]], dtype=bool)

    @cached_property
    def image_A(self) -> NDArray[np.int64]:
        """Image ids."""
        return np.array([a["image_id"] for a in self.dataset["annotations"]], dtype=np.int64)

    @cached_property
    def category_A(self) -> NDArray[np.int64]:
        """Category ids."""
        return np.array([a["category_id"] for a in self.dataset["annotations"]], dtype=np.int64)

    @property
    def objects(self) -> int:
        """How many there are to be found: all annotations but crowd regions."""
        return int((~self.crowd_A).sum())

    @cached_property
    def objects_of(self) -> Counter[int]:
        """Image id to its number of objects."""
        return Counter(self.image_A[~self.crowd_A].tolist())

    @cached_property
    def crowded_half(self) -> list[int]:
        """The half of the images, rounded up, that hold the most objects; of equal ones the lower ids."""
        ordered = sorted(self.image_ids, key=lambda image: (-self.objects_of[image], image))
        return sorted(ordered[: (len(ordered) + 1) // 2])

    @cached_property
    def pycocotools(self) -> COCO:
        """pycocotools' index of it."""
        return index(self.dataset)

    @cached_property
    def hotcoco(self) -> Any:
        """hotcoco's index of it."""
        import hotcoco

        return hotcoco.COCO(self.dataset)

    @cached_property
    def faster(self) -> Any:
        """faster-coco-eval's index of it."""
        import faster_coco_eval

        with contextlib.redirect_stdout(io.StringIO()):
            return faster_coco_eval.COCO(self.dataset)


def index(dataset: dict[str, Any]) -> COCO:
    """pycocotools' index of a data set that is already in memory."""
    with contextlib.redirect_stdout(io.StringIO()):  # it reports its progress by print
        coco = COCO()
        coco.dataset = dataset
        coco.createIndex()
    return coco
