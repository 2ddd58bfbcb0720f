"""Where the pictures of tools.visualize get their model, their images and their assigners from."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from data.augment.transforms import eval_transform
from data.coco.dataset import CocoDataset
from data.coco.read import read_annotations
from data.loader import Batch, collate
from data.sample import DetectionDataset, Transform
from engine.config.compose import check, compose_config
from engine.run import checkpoint
from engine.run.directory import differences, read_config
from engine.setup import build_assigner, build_dataset, trained_model
from engine.trainer import train
from errors import UsageError

# Pictures of 256 pixels hold truths of all of COCO's sizes, which those of 160 do not; three levels are three
# columns, and show where ATSS starves.
BRIEF = (
    "assigner=o2f", "model.neck.extra_levels=0", "data=shapes", "data.size=256", "data.images.train=320",
    "data.images.val=300", "data.workers=0", "schedule.epochs=5", "schedule.batch_size=8",
    "schedule.warmup_steps=30", "schedule.ema=0.98", "eval.every=5", "logger=none",
)  # fmt: skip


def brief_model(out: Path, seed: int, device: str, overrides: Sequence[str] = BRIEF) -> Path:
    """The checkpoint of a model trained for about a minute; the second time it is there already."""
    name = f"briefly-trained-seed{seed}"
    words = [*overrides, f"seed={seed}", f"device={device}", f"runs_dir={out}", f"name={name}"]
    config = _compose(*words)
    if (out / name / "config.yaml").exists():
        stored, asked = (OmegaConf.to_container(c, resolve=True) for c in (read_config(out / name), config))
        config.overwrite = bool(differences(stored, asked))  # of another version of this tool
    train(config)
    return out / name / "last.pt"


def first_batches(dataset: DetectionDataset, images: int, size: int = 8) -> Iterator[Batch]:
    """The first images of a data set in batches, without augmentation."""
    rows = range(min(images, len(dataset)))
    for start in rows[::size]:
        yield collate([dataset[row] for row in rows[start : start + size]])


def load(
    path: Path, image: Path | None, annotations: Path | None, device: torch.device
) -> tuple[DictConfig, nn.Module, DetectionDataset]:
    """A checkpoint's config, its model and the data to show: its validation set, or `image` and others.

    Raises:
        UsageError: if they do not fit together.
    """
    state = checkpoint.load(path)
    config = OmegaConf.create(state["config"])
    assert isinstance(config, DictConfig)
    check(config)
    if image is not None and annotations is not None:
        transform = eval_transform(config.data.eval_short, config.data.eval_long)
        categories = config.data.get("categories", "all")
        dataset: DetectionDataset = images_beside(image, annotations, transform, categories)
    else:
        dataset = build_dataset(config.data, "val", config.seed)
    return config, trained_model(state, path, dataset, device).eval(), dataset


def images_beside(
    image: Path,
    annotations: Path,
    transform: Transform | None = None,
    categories: str | Sequence[str] = "all",
) -> CocoDataset:
    """The data set of `image`, which comes first, and of the other images of the file that lie there, too.

    Raises:
        UsageError: if the image is missing or the file does not list it.
    """
    if not image.is_file():
        raise UsageError(f"no image at {image}: give image=FILE")
    names = read_annotations(annotations).file_names_I.tolist()  # checks the whole file
    # A file name may name folders as well, which the path of the image must end in.
    listed = [name for name in names if image.absolute().parts[-len(Path(name).parts) :] == Path(name).parts]
    if not listed:
        raise UsageError(
            f"{annotations} does not list {image.name}: of its {len(names)} images the first is {names[0]}"
        )
    folder = image.absolute().parents[len(Path(listed[0]).parts) - 1]
    content = json.loads(annotations.read_bytes())
    present = [entry for entry in content["images"] if (folder / entry["file_name"]).is_file()]
    present.sort(key=lambda entry: entry["file_name"] != listed[0])
    ids = {entry["id"] for entry in present}
    content["images"] = present
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in ids]
    with tempfile.TemporaryDirectory() as part:
        file = Path(part) / annotations.name
        file.write_text(json.dumps(content))
        return CocoDataset(folder, file, transform, categories=categories)


def assigner_named(name: str, trained: DictConfig) -> Any:
    """An assigner with the options of its YAML; that of the checkpoint with those it was trained with."""
    default = _compose(f"assigner={name}")
    # By class, since a run may name its assigner for its options, such as o2f-topk3.
    return build_assigner(trained if trained.assigner._target_ == default.assigner._target_ else default)


def _compose(*words: str) -> DictConfig:
    return compose_config(*words)
