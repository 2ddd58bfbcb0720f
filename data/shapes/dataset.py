"""The data set that needs no download: pictures of simple shapes, rendered when they are asked for.

Shape legend:
    N boxes of one image.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch

from data.sample import Index, Sample, Transform, transformed
from data.shapes import scenes
from data.shapes.painting import paint
from errors import UsageError


class ShapesDataset:
    """Shapes of eight classes; sizes spread as in COCO, occlusion, and as many crowds as wanted.

    Picture `index` depends on (seed, index) only; picture (epoch, index), as training asks for, on
    (seed, epoch, index). The two never coincide, so a validation set may share a training set's seed.

    Args:
        images: how many.
        size: side of the square pictures in pixels.
        seed: of all randomness, the transform's too.
        crowd: 0 for 1 to 8 shapes in a picture; 1 adds two clusters, together 46 to 66 shapes that overlap
            others of their class; about 30 to 70 stay visible.
        transform: applied to (image, boxes, labels) of every sample.

    Raises:
        UsageError: if a number is out of range.
    """

    class_names = scenes.NAMES
    category_ids = tuple(range(1, len(scenes.NAMES) + 1))

    def __init__(
        self, images: int, size: int, seed: int, crowd: float = 0.0, transform: Transform | None = None
    ) -> None:
        if images < 1 or size < 32 or seed < 0 or not 0 <= crowd <= 1:
            raise UsageError(
                f"shapes: images={images}, size={size}, seed={seed}, crowd={crowd}; "
                "there must be 1 image or more, of 32 pixels or more, with a seed >= 0 and a crowd of 0 to 1"
            )
        self.images, self.size, self.seed, self.crowd, self.transform = images, size, seed, crowd, transform

    def __len__(self) -> int:
        return self.images

    @property
    def size_I2(self) -> np.ndarray:
        """(height, width) of each picture."""
        return np.full((self.images, 2), self.size)

    def __getitem__(self, index: Index) -> Sample:
        """The sample of `index`, or a fresh one for (epoch, index)."""
        return self._sample(index, painted=True)

    def planned(self, index: Index) -> Sample:
        """The sample of `index` or (epoch, index) with its image on the meta device."""
        return self._sample(index, painted=False)

    def _sample(self, index: Index, painted: bool) -> Sample:
        if isinstance(index, tuple):
            epoch, row = index
            rng = self._rng(epoch + 1, row)
        else:
            epoch, row = 0, range(self.images)[index]
            rng = self._rng(0, row)
        scene = scenes.plan(rng, self.size, self.crowd)
        owner = scenes.owner_map(scene, self.size)
        boxes_N4, labels_N, _ = scenes.visible_truth(scene, owner)
        if painted:
            image = torch.from_numpy(paint(rng, scene, owner))
        else:
            image = torch.empty((3, self.size, self.size), dtype=torch.uint8, device="meta")
        truth = torch.from_numpy(boxes_N4), torch.from_numpy(labels_N)
        result = transformed(self.transform, image, *truth, (self.seed, epoch, row))
        return Sample(*result, row + 1, (self.size, self.size))

    def coco_json(self) -> dict[str, Any]:
        """The truth of the samples with plain indices in COCO form; areas are visible pixels."""
        return self._truth

    @cached_property
    def _truth(self) -> dict[str, Any]:
        annotations: list[dict[str, Any]] = []
        for row in range(self.images):
            scene = scenes.plan(self._rng(0, row), self.size, self.crowd)
            seen = scenes.visible_truth(scene, scenes.owner_map(scene, self.size))
            for (x1, y1, x2, y2), label, area in zip(*(column.tolist() for column in seen), strict=True):
                annotations.append(
                    {"id": len(annotations) + 1, "image_id": row + 1, "category_id": label + 1,
                     "bbox": [x1, y1, x2 - x1, y2 - y1], "area": area, "iscrowd": 0}
                )  # fmt: skip
        images = [
            {"id": row + 1, "file_name": f"{row + 1:06d}.png", "height": self.size, "width": self.size}
            for row in range(self.images)
        ]
        categories = [{"id": i, "name": n} for i, n in zip(self.category_ids, self.class_names, strict=True)]
        return {"info": {}, "images": images, "annotations": annotations, "categories": categories}

    def _rng(self, stream: int, row: int) -> np.random.Generator:
        # PCG64 by name: default_rng may become another generator in a later numpy.
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence((self.seed, stream, row))))
