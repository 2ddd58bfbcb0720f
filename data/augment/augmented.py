"""A training set whose samples may be made of several images, and whose last epochs are plain.

The index that the sampler hands out carries the epoch, so workers that live through all epochs switch by
themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from data.augment.mixing import mix_up, mosaic
from data.sample import DetectionDataset, Index, Sample, Transform, transformed

_MIXING = 1  # sets these draws apart from those of the transform, whose key is (seed, epoch, index)


class AugmentedDataset:
    """Mosaic, mix-up and a transform over the raw samples of another data set.

    Everything drawn depends on (seed, epoch, index) only. An image that cannot be decoded is replaced as the
    data set below does it, among the partners too; `problem` then names all of them.

    Args:
        dataset: gives raw samples: it must have no transform of its own.
        transform: for samples of one image, mixed up or not.
        mosaic_transform: for mosaics, whose canvas is a square of 2 `side`.
        plain_transform: for the last epochs, and for plain indices, which are never mixed.
        seed: of all randomness.
        side: of the square that each image of a mosaic is fitted into, in pixels.
        mosaic, mixup: probabilities; a mosaic may be mixed up, too.
        plain_from: the first of the last epochs, or None if there are none.
    """

    def __init__(
        self,
        dataset: DetectionDataset,
        transform: Transform,
        mosaic_transform: Transform,
        plain_transform: Transform,
        seed: int,
        side: int,
        mosaic: float = 0.0,
        mixup: float = 0.0,
        plain_from: int | None = None,
    ) -> None:
        self.dataset, self.seed, self.side = dataset, seed, side
        self.transform, self.mosaic_transform = transform, mosaic_transform
        self.plain_transform, self.plain_from = plain_transform, plain_from
        self.mosaic, self.mixup = mosaic, mixup

    @property
    def class_names(self) -> tuple[str, ...]:
        """Label i is called class_names[i]."""
        return self.dataset.class_names

    @property
    def category_ids(self) -> tuple[int, ...]:
        """Label i is category_ids[i] in `coco_json`."""
        return self.dataset.category_ids

    @property
    def size_I2(self) -> np.ndarray:
        """(height, width) of each image of the data set below."""
        return self.dataset.size_I2

    def __len__(self) -> int:
        return len(self.dataset)

    def coco_json(self) -> dict[str, Any]:
        """The truth of the images below, as nothing is mixed where it is asked for."""
        return self.dataset.coco_json()

    def __getitem__(self, index: Index) -> Sample:
        """The augmented sample of (epoch, index), or the plain one of `index`."""
        return self._augmented(index, self.dataset.__getitem__)

    def planned(self, index: Index) -> Sample:
        """The same with its image on the meta device."""
        return self._augmented(index, self.dataset.planned)

    def _augmented(self, index: Index, raw: Callable[[Index], Sample]) -> Sample:
        if not isinstance(index, tuple):
            row = range(len(self))[index]
            return self._finished(raw(row), self.plain_transform, 0, row)
        epoch, row = index
        sample = raw(index)
        if self.plain_from is not None and epoch >= self.plain_from:
            return self._finished(sample, self.plain_transform, epoch, row)
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((self.seed, epoch, row, _MIXING))))
        transform, limit = self.transform, (sample.image.shape[1], sample.image.shape[2])
        if rng.random() < self.mosaic:
            partners = [raw(self._partner(rng, epoch)) for _ in range(3)]
            sample = mosaic([sample, *partners], self.side, rng)
            # An image over a mosaic is as large as those in it.
            transform, limit = self.mosaic_transform, (self.side, self.side)
        if rng.random() < self.mixup:
            sample = mix_up(sample, raw(self._partner(rng, epoch)), limit, rng)
        return self._finished(sample, transform, epoch, row)

    def _partner(self, rng: np.random.Generator, epoch: int) -> Index:
        return epoch, int(rng.integers(len(self)))

    def _finished(self, sample: Sample, transform: Transform, epoch: int, row: int) -> Sample:
        key = (self.seed, epoch, row)
        image, boxes_N4, labels_N = transformed(
            transform, sample.image, sample.boxes_N4, sample.labels_N, key
        )
        return replace(sample, image=image, boxes_N4=boxes_N4, labels_N=labels_N)
