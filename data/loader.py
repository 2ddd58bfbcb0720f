"""Batches: padding to one canvas, and the loaders of training and evaluation.

Shape legend:
    B images of a batch, H and W of the padded canvas, G truths of the whole batch.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info

from assigners.core.types import GroundTruth
from data.sample import IGNORED, DetectionDataset, Sample
from data.sampler import EpochSampler, Request
from data.square import squared
from data.worker import end_with_reader_only, signals_held

Size = tuple[int, int]  # (height, width) in pixels

# ImageNet's mean colour: padding becomes zero once the detector has normalised the image.
PADDING_RGB = (124, 116, 104)


@dataclass
class Batch:
    """Images of one batch in one canvas, and their truths.

    Attributes:
        images_B3HW: uint8 RGB, padded at the right and the bottom, channels last in memory.
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


def collate(samples: Sequence[Sample], multiple: int = 32, beside: Sequence[Size] = ()) -> Batch:
    """Pads the images of a batch to one canvas whose sides are multiples of `multiple` pixels.

    Args:
        beside: (height, width) of further images that the canvas must hold.
    """
    sizes = [(sample.image.shape[1], sample.image.shape[2]) for sample in samples]
    height, width = padded([*sizes, *beside], multiple)
    # Channels last in memory, as decoded images and the network's convolutions are.
    images_BHW3 = _canvas(len(samples), height, width, 3)
    padding = torch.tensor(PADDING_RGB, dtype=torch.uint8).repeat(width)
    for canvas, sample, (rows, columns) in zip(images_BHW3, samples, sizes, strict=True):
        canvas[:rows, :columns] = sample.image.permute(1, 2, 0)
        lines = canvas.view(height, 3 * width)
        lines[:rows, 3 * columns :] = padding[: 3 * (width - columns)]
        lines[rows:] = padding
    return Batch(
        images_BHW3.permute(0, 3, 1, 2),
        _boxes(samples, ignored=False),
        torch.tensor([sample.image_id for sample in samples]),
        torch.tensor(sizes),
        torch.tensor([sample.original_size for sample in samples]),
        [sample.problem for sample in samples if sample.problem],
        _boxes(samples, ignored=True),
    )


def _canvas(*shape: int) -> Tensor:
    """Uninitialised bytes; in a data worker in the memory that the training process reads, so not copied."""
    if get_worker_info() is None:
        # numpy asks for huge pages: torch's first touch of so many small ones takes as long as a resize.
        return torch.from_numpy(np.empty(shape, dtype=np.uint8))
    storage = torch.UntypedStorage._new_shared(math.prod(shape))
    return torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)


def padded(sizes: Sequence[Size], multiple: int) -> Size:
    """The smallest canvas for images of these sizes whose sides are multiples of `multiple` pixels."""
    height, width = (-(-max(side) // multiple) * multiple for side in zip(*sizes, strict=True))
    return height, width


def _boxes(samples: Sequence[Sample], ignored: bool) -> GroundTruth:
    """The truths of a batch, or its ignored regions."""
    rows = [(sample.labels_N == IGNORED) == ignored for sample in samples]
    return GroundTruth.from_list(
        [(s.boxes_N4[row_N], s.labels_N[row_N]) for s, row_N in zip(samples, rows, strict=True)]
    )


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
    accumulate: int = 1,
    sides: Sequence[int] = (),
    pin: bool = False,
) -> TrainLoader:
    """Shuffled batches of `batch_size` images for each of `ranks` processes.

    The canvas of a batch holds all images of its step: those of all processes and of the `accumulate`
    batches whose gradients are added up. So it is the same for any number of processes. With `sides` it is a
    square of one of them, to which all images of the step are resized. `pin` puts batches into page-locked
    memory, from which a GPU copies while it works.
    """
    portrait_I = dataset.size_I2[:, 0] > dataset.size_I2[:, 1]
    sampler = EpochSampler(portrait_I, batch_size, seed, rank, ranks, accumulate, sides)
    return TrainLoader(_loader(dataset, workers, seed, multiple, sampler, pin), sampler)


def eval_loader(
    dataset: DetectionDataset,
    batch_size: int,
    workers: int,
    multiple: int = 32,
    rank: int = 0,
    ranks: int = 1,
    pin: bool = False,
) -> DataLoader[Any]:
    """Every image once, in batches of one padded size; rank r takes the batches r, r + ranks and so on.

    So the canvas of an image depends on nothing but the image, and neither do its detections.
    """
    canvas: dict[Size, Size] = {}  # of each size before the transform, which evaluation resizes alike
    groups: dict[Size, list[int]] = {}
    for index, (height, width) in enumerate(dataset.size_I2.tolist()):
        if (height, width) not in canvas:
            rows, columns = dataset.planned(index).image.shape[1:]
            canvas[height, width] = padded([(rows, columns)], multiple)
        groups.setdefault(canvas[height, width], []).append(index)
    batches = [
        group[start : start + batch_size]
        for group in groups.values()
        for start in range(0, len(group), batch_size)
    ]
    requests = [Request(indices) for indices in sorted(batches)[rank::ranks]]
    return _loader(dataset, workers, 0, multiple, requests, pin)


class _Batches:
    """The batches of a data set by request, for DataLoader."""

    def __init__(self, dataset: DetectionDataset, multiple: int) -> None:
        self._dataset, self._multiple = dataset, multiple

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitems__(self, request: Request) -> Batch:
        """DataLoader calls this with what its batch sampler gives."""
        samples = [self._dataset[index] for index in request.own]
        if request.side:
            batch = collate([squared(sample, request.side) for sample in samples], self._multiple)
        else:
            shapes = (self._dataset.planned(index).image.shape for index in request.beside)
            batch = collate(samples, self._multiple, [(shape[1], shape[2]) for shape in shapes])
        batch.truth.check_labels(len(self._dataset.class_names))
        return batch


class _Loader(DataLoader[Any]):
    """DataLoader whose workers start with SIGINT and SIGTERM blocked in all their threads."""

    def __iter__(self) -> Any:
        with signals_held():
            return super().__iter__()


def cores() -> int:
    """CPU cores that this process may use. More workers than these only take memory and turns."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _same(batch: Any) -> Any:
    return batch


def _loader(
    dataset: DetectionDataset, workers: int, seed: int, multiple: int, requests: Iterable[Request], pin: bool
) -> DataLoader[Any]:
    # DataLoader itself limits each worker to one torch thread. Its own generator keeps it from drawing from
    # the global one, which would make a continued run differ from an uninterrupted one.
    return _Loader(
        _Batches(dataset, multiple),  # type: ignore[arg-type]  # a data set by its methods
        batch_sampler=requests,  # type: ignore[arg-type]  # a request stands for the indices of a batch
        num_workers=min(workers, cores()),
        collate_fn=_same,
        pin_memory=pin,
        persistent_workers=workers > 0,
        generator=torch.Generator().manual_seed(seed),
        worker_init_fn=end_with_reader_only,
    )
