"""Any data set in COCO format: one JSON file and one folder of images.

Shape legend:
    A annotations of all images (sorted by image), N boxes of one image.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.coco.annotations import Annotations
from data.coco.cached import annotations_of
from data.coco.categories import regrouped
from data.coco.files import check_files
from data.coco.pixels import open_cache
from data.decode import decode
from data.sample import IGNORED, Index, Sample, Transform, transformed
from errors import UsageError, listed

log = logging.getLogger(__name__)

CROWD_REGIONS = ("drop", "ignore")
_MAX_BROKEN_IN_A_ROW = 100  # more than this is a lost disk, not a bad file


class CocoDataset:
    """Images with boxes; boxes without area are left out of the samples, and so are crowd boxes by default.

    Args:
        images: the folder that the file names of the JSON file are relative to.
        annotations: the JSON file (instances_*.json).
        transform: applied to (image, boxes, labels) of every sample.
        seed: together with epoch and index, the only source of the transform's randomness.
        categories: which classes to tell apart, see data.categories.
        crowd_regions: "drop" leaves crowd boxes out of the samples, so that what they show is background;
            "ignore" gives them the label IGNORED.
        filter_empty: leaves out images without any box to learn from.
        cache_dir: where the arrays of large annotation files are kept, see `annotations_of`.
        cache: keeps decoded images in "ram" or on "disk", see `open_cache`.
        draft: decodes a JPEG that shrinks by more than a half, a quarter, an eighth at this scale, where all
            of it is resized. It is faster, and the pixels differ a little.

    Attributes:
        truth: the annotations, with the chosen classes.
        xyxy_A4: float32, the boxes of `truth` as corners, clipped to their images.
        solid_A: bool, which of them have an area.

    Raises:
        UsageError: if the file or images are missing, malformed or do not fit each other.
    """

    def __init__(
        self,
        images: str | Path,
        annotations: str | Path,
        transform: Transform | None = None,
        seed: int = 0,
        categories: str | Sequence[str] = "all",
        crowd_regions: str = "drop",
        filter_empty: bool = False,
        cache_dir: Path | None = None,
        cache: str | None = None,
        draft: bool = False,
    ) -> None:
        if crowd_regions not in CROWD_REGIONS:
            known = " or ".join(CROWD_REGIONS)
            raise UsageError(f"data.crowd_regions={crowd_regions} must be {known}.")
        self.folder, self.path = Path(images), Path(annotations)
        self.transform, self.seed = transform, seed
        self.truth = regrouped(annotations_of(self.path, cache_dir), categories, self.path)
        if filter_empty:
            self.truth = _with_objects(self.truth, self.path)
        check_files(self.folder, self.truth)
        self.xyxy_A4, self.solid_A = _training_boxes(self.truth)
        _name_without_area(self.path, self.truth, self.solid_A)
        if draft and cache is not None:
            raise UsageError("data.draft=true does not go with data.cache: the cache keeps whole images")
        files = [self.folder / name for name in self.truth.file_names_I.tolist()] if cache is not None else []
        self._cache = open_cache(cache, self.truth.size_I2, files, cache_dir)
        self._draft = draft and getattr(transform, "reducible", False)
        self._labels_A = np.where(self.truth.crowd_A, IGNORED, self.truth.labels_A)
        self._use_A = self.solid_A if crowd_regions == "ignore" else self.solid_A & ~self.truth.crowd_A

    @property
    def class_names(self) -> tuple[str, ...]:
        """Label i is called class_names[i]."""
        return self.truth.class_names

    @property
    def category_ids(self) -> tuple[int, ...]:
        """Label i is category_ids[i] in `coco_json`; in the JSON file too, unless categories were merged."""
        return self.truth.category_ids

    @property
    def size_I2(self) -> np.ndarray:
        """(height, width) of each image."""
        return self.truth.size_I2

    def __len__(self) -> int:
        return len(self.truth.image_ids_I)

    def __getitem__(self, index: Index) -> Sample:
        """The sample of `index`, or of (epoch, index).

        An image that cannot be decoded never ends a run. In training, that is for (epoch, index), the next
        readable image takes its place. For a plain index it becomes a blank image of the same id, size and no
        boxes, so that an evaluation counts it once, as missed. `problem` tells in both cases.
        """
        if not isinstance(index, tuple):
            # range() raises the IndexError that ends `for sample in dataset`
            return self._plain_sample(range(len(self))[index])
        epoch, first = index
        problem = None
        for step in range(min(len(self), _MAX_BROKEN_IN_A_ROW)):
            row = (first + step) % len(self)
            try:
                image = self._decode(row, epoch)
            except Exception as error:  # decoders raise nearly anything on broken bytes
                problem = problem or self._describe(row, error)
            else:
                return self._sample(row, epoch, image, problem)
        raise UsageError(
            f"nothing readable from {problem} onwards; is the disk of {self.folder} still there?"
        )

    def planned(self, index: Index) -> Sample:
        """The sample of `index` or (epoch, index) with its image on the meta device."""
        epoch, row = index if isinstance(index, tuple) else (0, range(len(self))[index])
        height, width = self.truth.size_I2[row].tolist()
        image = torch.empty((3, height, width), dtype=torch.uint8, device="meta")
        return self._sample(row, epoch, image, None)

    def coco_json(self) -> dict[str, Any]:
        """The truth in COCO form for pycocotools: crowd boxes and areas as in the file, chosen categories."""
        return self.truth.to_json()

    def _plain_sample(self, row: int) -> Sample:
        try:
            image, problem = self._decode(row, 0), None
        except Exception as error:
            height, width = self.truth.size_I2[row].tolist()
            image = torch.full((3, height, width), 114, dtype=torch.uint8)
            problem = self._describe(row, error)
        return self._sample(row, 0, image, problem, boxes=problem is None)

    def _sample(self, row: int, epoch: int, image: Tensor, problem: str | None, boxes: bool = True) -> Sample:
        begin, end = self.truth.start_I[row : row + 2]
        use_N = self._use_A[begin:end] & boxes
        boxes_N4 = torch.from_numpy(self.xyxy_A4[begin:end][use_N])
        labels_N = torch.from_numpy(self._labels_A[begin:end][use_N])
        height, width = self.truth.size_I2[row].tolist()
        options = {"size": (height, width)} if self._draft else {}
        result = transformed(self.transform, image, boxes_N4, labels_N, (self.seed, epoch, row), **options)
        return Sample(*result, int(self.truth.image_ids_I[row]), (height, width), problem)

    def _decode(self, row: int, epoch: int) -> Tensor:
        image = self._cache.get(row) if self._cache is not None else None
        if image is None:
            height, width = self.truth.size_I2[row].tolist()
            least = None
            if self._draft:
                rows, columns = self.planned((epoch, row)).image.shape[1:]
                least = rows, columns
            image = decode(self.folder / str(self.truth.file_names_I[row]), (height, width), least)
            if self._cache is not None:
                self._cache.put(row, image)
        return image

    def _describe(self, row: int, error: Exception) -> str:
        return f"{self.truth.file_names_I[row]}: {error}"


def _training_boxes(truth: Annotations) -> tuple[np.ndarray, np.ndarray]:
    """The boxes as float32 xyxy, clipped to their images, and which of them have an area."""
    size_A2 = truth.size_I2[truth.image_A]
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = truth.xywh_A4[:, :2], truth.xywh_A4[:, :2] + truth.xywh_A4[:, 2:]
    xyxy_A4 = np.concatenate((low, high), axis=1).clip(0, np.tile(size_A2[:, ::-1], 2)).astype(np.float32)
    # A NaN fails the comparison, an infinite side is not finite in the file.
    solid_A = (xyxy_A4[:, 2:] > xyxy_A4[:, :2]).all(axis=1) & np.isfinite(truth.xywh_A4).all(axis=1)
    return xyxy_A4, solid_A


def _name_without_area(path: Path, truth: Annotations, solid_A: np.ndarray) -> None:
    bad_ids = truth.ids_A[~solid_A & ~truth.crowd_A].tolist()
    if bad_ids:
        log.warning(
            "%s: %d of %d boxes have no area inside their image, so training leaves them out: annotations %s",
            path, len(bad_ids), len(solid_A), listed([str(annotation_id) for annotation_id in bad_ids]),
        )  # fmt: skip


def _with_objects(truth: Annotations, path: Path) -> Annotations:
    """The images with at least one box that has an area and is no crowd."""
    learnt_A = _training_boxes(truth)[1] & ~truth.crowd_A
    keep_I = np.bincount(truth.image_A[learnt_A], minlength=len(truth.image_ids_I)) > 0
    if not keep_I.any():
        raise UsageError(f"{path}: no image has a box to learn from: set data.filter_empty=false or mend it")
    return truth.with_images(keep_I)
