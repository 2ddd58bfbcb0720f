"""Detectors of several kinds and their exported files, made once for all tests of a session.

An export takes 10 to 40 s, so pytest-xdist's workers share the files.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import gettempdir, mkdtemp

import numpy as np
import torch

from data.coco.cached import one_at_a_time
from data.shapes.dataset import ShapesDataset
from detector.detector import Detector
from detector.trained import read_checkpoint
from engine.config.compose import compose_config
from export import Options, export
from inference.record import Record
from tests.helpers.random_detector import random_checkpoint
from tests.helpers.tiny_run import TINY_MODEL

# Few layers and levels: the time of an export grows with the number of operations.
FEW = (*TINY_MODEL, "model.backbone.name=resnet10t", "model.backbone.levels=[3,4]")
TWO_LEVELS = (*FEW, "model.neck.extra_levels=0")
KINDS = {
    "fcos": ("model=fcos_lcnet", "assigner=o2f", *TWO_LEVELS),  # quality: implicit
    "picodet": ("model=picodet_s", "assigner=tal", *FEW),
    "peaks": ("model=fcos_lcnet", "assigner=tal", "eval.peak_window=3", *TWO_LEVELS),
    "centerness": ("model=fcos_lcnet", "assigner=fcos", *TWO_LEVELS),
}


@dataclass(frozen=True)
class Exported:
    """A checkpoint, what is in it, and a file of export.py."""

    checkpoint: Path
    network: Detector
    record: Record
    file: Path


def exported(kind: str, cut: str, form: str = "onnx") -> Exported:
    """The exported file of a detector of KINDS."""
    return _exported(kind, cut, form)


@cache
def _exported(kind: str, cut: str, form: str) -> Exported:
    checkpoint, network, record = trained(kind)
    file = checkpoint.with_name(f"{kind}_{cut}.{'onnx' if form == 'onnx' else 'pt2'}")
    _make(file, lambda: export(Options(str(checkpoint), str(file), form, cut)))
    return Exported(checkpoint, network, record, file)


@cache
def trained(kind: str) -> tuple[Path, Detector, Record]:
    """The checkpoint of a detector of KINDS, its network and its record."""
    path = _folder() / f"{kind}.pt"
    _make(path, lambda: _random(kind, path))
    network, record = read_checkpoint(path)
    return path, network.eval(), record


def _random(kind: str, path: Path) -> None:
    config = compose_config("data.size=160", "model.backbone.weights=null", "logger=none", *KINDS[kind])
    random_checkpoint(config, ShapesDataset(4, 160, seed=0), path)


@cache
def _folder() -> Path:
    """One for all workers of a session."""
    session = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    return Path(gettempdir(), f"exported-{session}") if session else Path(mkdtemp())


def _make(file: Path, make: Callable[[], object]) -> None:
    """`make()`, unless some worker has written `file`; a worker waits for another that is writing it."""
    with one_at_a_time(file.with_suffix(".lock")):
        if not file.exists():
            make()


def batches(count: int = 2) -> list[np.ndarray]:
    """Drawn pictures as network inputs (B, 3, H, W) of three sizes, `count` batches of one and of three."""
    pictures = ShapesDataset(12 * count, 256, seed=3)
    made, row = [], 0
    for height, width in ((96, 160), (128, 128), (64, 256)):
        for size in [1, 3] * count:
            images = [pictures[(row + step) % len(pictures)].image for step in range(size)]
            row += size
            made.append(torch.stack(images)[:, :, :height, :width].contiguous().numpy())
    return made


def sizes(images_B3HW: np.ndarray) -> np.ndarray:
    """The sizes of images that fill their canvas."""
    return np.array([images_B3HW.shape[2:]] * len(images_B3HW))
