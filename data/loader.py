"""Batches: padding, the order of an epoch, and the loaders.

Shape legend:
    B images of a batch, H and W of the padded canvas, G truths of the whole batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from assigners.core.types import GroundTruth
from data.sample import IGNORED, DetectionDataset, Sample
from data.worker import end_with_reader_only
from errors import UsageError

# ImageNet's mean colour: padding becomes zero once the detector has normalised the image.
PADDING_RGB = (124, 116, 104)


@dataclass
class Batch:
    """Images of one batch in one canvas, and their truths.

    Attributes:
        images_B3HW: uint8 RGB, padded at the right and the bottom.
        truth: boxes in pixels of the canvas.
        image_id_B: int64.
        size_B2: int64, (height, width) of each image inside the canvas.
        original_B2: int64, (height, width) of each image in its file.
        problems: images that could not be read ("file: reason").
        ignored: regions in pixels of the canvas whose background points are not punished; no region has a
            label that means anything.
    """

    images_B3HW: Tensor
    truth: GroundTruth
    image_id_B: Tensor
    size_B2: Tensor
    original_B2: Tensor
    problems: list[str]
    ignored: GroundTruth

    def to(self, device: torch.device | str, non_blocking: bool = True) -> Batch:
        """The same batch with images and truths on another device; ids and sizes stay on the CPU."""
        images = self.images_B3HW.to(device, non_blocking=non_blocking)
        truth = self.truth.to(device, non_blocking=non_blocking)
        ignored = self.ignored.to(device, non_blocking=non_blocking)
        return replace(self, images_B3HW=images, truth=truth, ignored=ignored)

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory; DataLoader calls this."""
        images, truth = self.images_B3HW.pin_memory(), self.truth.pin_memory()
        return replace(self, images_B3HW=images, truth=truth, ignored=self.ignored.pin_memory())

    def __len__(self) -> int:
        return len(self.image_id_B)


def collate(samples: Sequence[Sample], multiple: int = 32) -> Batch:
    """Pads the images of a batch to one canvas whose sides are multiples of `multiple` pixels."""
    sizes = [(sample.image.shape[1], sample.image.shape[2]) for sample in samples]
    height, width = (-(-max(side) // multiple) * multiple for side in zip(*sizes, strict=True))
    color = torch.tensor(PADDING_RGB, dtype=torch.uint8).view(1, 3, 1, 1)
    images_B3HW = color.expand(len(samples), 3, height, width).contiguous()
    for canvas, sample, (rows, columns) in zip(images_B3HW, samples, sizes, strict=True):
        canvas[:, :rows, :columns] = sample.image
    return Batch(
        images_B3HW,
        _boxes(samples, ignored=False),
        torch.tensor([sample.image_id for sample in samples]),
        torch.tensor(sizes),
        torch.tensor([sample.original_size for sample in samples]),
        [sample.problem for sample in samples if sample.problem],
        _boxes(samples, ignored=True),
    )


def _boxes(samples: Sequence[Sample], ignored: bool) -> GroundTruth:
    """The truths of a batch, or its ignored regions."""
    rows = [(sample.labels_N == IGNORED) == ignored for sample in samples]
    return GroundTruth.from_list(
        [(s.boxes_N4[row_N], s.labels_N[row_N]) for s, row_N in zip(samples, rows, strict=True)]
    )


class EpochSampler(Sampler[list[tuple[int, int]]]):
    """The batches of one epoch as lists of (epoch, index), in an order that depends on (seed, epoch) only.

    With several ranks, each takes its own batches of the common order. Images that do not fill a batch on
    every rank sit the epoch out, unless there is not even one such batch: then it is a smaller one.
    """

    def __init__(self, images: int, batch_size: int, seed: int, rank: int = 0, ranks: int = 1) -> None:
        if batch_size < 1 or images < ranks:
            raise UsageError(
                f"{images} images, batches of {batch_size}, {ranks} processes: nothing to do for one"
            )
        self.images, self.batch_size, self.seed, self.rank, self.ranks = images, batch_size, seed, rank, ranks
        self.epoch, self.start = 0, 0

    def set(self, epoch: int, start: int = 0) -> None:
        """Which epoch comes next, and how many of its batches were seen before an interruption."""
        self.epoch, self.start = epoch, start

    def __len__(self) -> int:
        """Batches of a whole epoch on this rank."""
        return max(1, self.images // (self.batch_size * self.ranks))

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        key = np.random.SeedSequence((self.seed, self.epoch))
        order = np.random.Generator(np.random.PCG64(key)).permutation(self.images)
        mine = order[self.rank :: self.ranks].tolist()
        for batch in range(self.start, len(self)):
            indices = mine[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield [(self.epoch, index) for index in indices]


class TrainLoader:
    """Batches by epoch; the workers live on from one epoch to the next."""

    def __init__(self, loader: DataLoader[Any], sampler: EpochSampler) -> None:
        self._loader, self._sampler = loader, sampler

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return len(self._sampler)

    def epoch(self, epoch: int, skip_batches: int = 0) -> Iterator[Batch]:
        """The batches of `epoch`; the first `skip_batches` are neither loaded nor returned."""
        self._sampler.set(epoch, skip_batches)
        return iter(self._loader)


def train_loader(
    dataset: DetectionDataset,
    batch_size: int,
    workers: int,
    seed: int,
    multiple: int = 32,
    rank: int = 0,
    ranks: int = 1,
) -> TrainLoader:
    """Shuffled batches of `batch_size` images for each of `ranks` processes."""
    sampler = EpochSampler(len(dataset), batch_size, seed, rank, ranks)
    return TrainLoader(_loader(dataset, workers, seed, multiple, batch_sampler=sampler), sampler)


def eval_loader(
    dataset: DetectionDataset,
    batch_size: int,
    workers: int,
    multiple: int = 32,
    rank: int = 0,
    ranks: int = 1,
) -> DataLoader[Any]:
    """Every image once, in order; rank r of several takes the batches r, r + ranks and so on of that order.

    So an image has the same neighbours, and the same canvas, whatever the number of processes.
    """
    starts = range(rank * batch_size, len(dataset), ranks * batch_size)
    batches = [list(range(start, min(start + batch_size, len(dataset)))) for start in starts]
    return _loader(dataset, workers, 0, multiple, batch_sampler=batches)


def _loader(
    dataset: DetectionDataset, workers: int, seed: int, multiple: int, **order: Any
) -> DataLoader[Any]:
    # DataLoader itself limits each worker to one torch thread. Its own generator keeps it from drawing from
    # the global one, which would make a continued run differ from an uninterrupted one.
    return DataLoader(
        dataset,  # type: ignore[arg-type]  # a map-style data set by its methods, not by inheritance
        num_workers=workers,
        collate_fn=partial(collate, multiple=multiple),
        pin_memory=torch.cuda.is_available(),
        persistent_workers=workers > 0,
        generator=torch.Generator().manual_seed(seed),
        worker_init_fn=end_with_reader_only,
        **order,
    )
