"""Fixtures that several folders share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before torch is imported: runs this small are slower with more threads, in the tests' subprocesses too.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import pytest
from omegaconf import DictConfig
from PIL import Image, ImageDraw

from engine.config.compose import compose_config
from tests.helpers.tiny_run import ROOT, TINY_COCO_RUN, TINY_MODEL, TINY_RUN

Compose = Callable[..., DictConfig]


@pytest.fixture(scope="session")
def composed() -> Compose:
    """composed(*overrides, name="train"): the config that a command line with these words gives."""

    def call(*overrides: str, name: str = "train") -> DictConfig:
        return compose_config(*overrides, name=name)

    return call


@pytest.fixture
def unsized(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training does not count its operations, a third of a tiny run; tests/detector/test_summary.py does."""
    from engine import parts

    monkeypatch.setattr(parts, "summary", lambda *_: "")


@pytest.fixture
def tiny_run(unsized: None, composed: Compose, tmp_path: Path) -> Compose:
    """tiny_run(*overrides): the config of a run of seconds on shapes, with its directories in `tmp_path`."""

    def call(*overrides: str) -> DictConfig:
        return composed(*TINY_RUN, f"runs_dir={tmp_path}/runs", *overrides)

    return call


@pytest.fixture
def coco_run(unsized: None, composed: Compose, tiny_coco: Path) -> Compose:
    """coco_run(*overrides): the same on `tiny_coco`."""

    def call(*overrides: str) -> DictConfig:
        places = (f"data.root={tiny_coco}", f"runs_dir={tiny_coco}/runs")
        return composed("data=coco", *TINY_COCO_RUN, *TINY_MODEL, *places, *overrides)

    return call


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """command("train.py", *words): what a person sees who types that, in an empty directory."""

    def call(script: str, *words: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, str(ROOT / script), *words]
        return subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)

    return call


@pytest.fixture(scope="session")
def whole(composed: Compose, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The directory and the result of a run that nothing disturbed."""
    from engine.trainer import train

    config = composed(*TINY_RUN, f"runs_dir={tmp_path_factory.mktemp('whole')}")
    return Path(config.runs_dir) / config.name, train(config)


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """stop_after(n): SIGTERM reaches the process during the n-th batch from now."""
    from engine.trainer import Trainer

    def arm(count: int) -> None:
        original, seen = Trainer._train_batch, [0]

        def counted(self: Trainer, *arguments: Any, **words: Any) -> Any:
            seen[0] += 1
            if seen[0] == count:
                signal.raise_signal(signal.SIGTERM)
            return original(self, *arguments, **words)

        monkeypatch.setattr(Trainer, "_train_batch", counted)

    return arm


CATEGORIES = ((3, "car"), (7, "train"), (90, "toothbrush"))
COLORS = {3: (220, 40, 40), 7: (40, 200, 60), 90: (50, 70, 230)}


@pytest.fixture
def tiny_coco(tmp_path: Path) -> Path:
    """The root of a COCO-format data set: train2017 (8 images), val2017 (4 images) and annotations.

    Sizes vary around 96x64, category ids have gaps, each class has its colour. In both splits the first image
    has a crowd box beside its others and the second has no boxes at all.
    """
    (tmp_path / "annotations").mkdir()
    for split, count in (("train", 8), ("val", 4)):
        write_split(tmp_path, f"{split}2017", count, np.random.default_rng(count))
    return tmp_path


def write_split(root: Path, split: str, count: int, rng: np.random.Generator) -> None:
    (root / split).mkdir()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for row in range(count):
        width, height = int(rng.integers(80, 113)), int(rng.integers(52, 77))
        image_id, name = 1000 + 37 * row, f"{row:012d}.jpg"
        noise = rng.integers(90, 166, (height, width, 3), dtype=np.uint8)
        picture = Image.fromarray(noise)
        draw = ImageDraw.Draw(picture)
        for number in range(0 if row == 1 else 1 + row % 3):
            category = CATEGORIES[(row + number) % 3][0]
            w, h = rng.integers(12, 33, 2).tolist()
            x, y = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
            draw.rectangle((x, y, x + w - 1, y + h - 1), fill=COLORS[category])
            annotations.append(
                {"id": 500 + len(annotations), "image_id": image_id, "category_id": category,
                 "bbox": [x, y, w, h], "area": w * h, "iscrowd": 0}
            )  # fmt: skip
        if row == 0:
            annotations.append(
                {"id": 500 + len(annotations), "image_id": image_id, "category_id": 7,
                 "bbox": [4, 6, 50, 30], "area": 900, "iscrowd": 1}
            )  # fmt: skip
        picture.save(root / split / name, quality=90)
        images.append({"id": image_id, "file_name": name, "width": width, "height": height})
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in reversed(CATEGORIES)],
    }
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
