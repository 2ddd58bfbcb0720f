"""From a config to its parts: data sets, detector, assigner, device; all of it checked before work starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from assigners import Assigner
from data.augment.augmented import AugmentedDataset
from data.augment.transforms import eval_transform, train_transform
from data.coco.dataset import CocoDataset
from data.sample import DetectionDataset, Transform
from data.shapes.dataset import ShapesDataset
from detector.detector import Detector, build_detector
from engine import checkpoint
from engine.predictors import assigner_from, head_options
from engine.run import flatten
from errors import UsageError
from evaluation.coco_backends import check_backend

AT_LEAST_ONE = (
    "schedule.epochs", "schedule.batch_size", "schedule.accumulate", "max_steps", "eval.every",
    "eval.batch_size", "eval.limit", "eval.candidates", "data.size", "data.images.train", "data.images.val",
    "data.short", "data.eval_short", "data.long", "data.eval_long", "model.backbone.levels",
    "model.neck.channels", "model.head.channels", "model.head.reg_max",
)  # fmt: skip
AT_LEAST_ZERO = (
    "seed", "data.workers", "data.plain_epochs", "schedule.warmup_steps", "schedule.milestones",
    "model.backbone.freeze_stages", "model.neck.extra_levels", "model.head.convs",
)  # fmt: skip
ABOVE_ZERO = ("schedule.lr", "schedule.clip_norm", "schedule.ema")
NOT_NEGATIVE = (
    "schedule.momentum", "schedule.weight_decay", "data.crowd", "eval.score_threshold",
    "eval.nms_iou", "loss.cls_gain", "loss.box_gain", "loss.quality_gain",
    "loss.dfl_gain",
)  # fmt: skip
PROBABILITIES = ("data.flip", "data.expand", "data.crop", "data.mosaic", "data.mixup")
LISTS = ("schedule.milestones", "model.backbone.levels")
MAY_BE_NULL = ("max_steps", "schedule.clip_norm", "schedule.ema")
METRICS = ("nms", "nms_free")


def check(config: DictConfig) -> None:
    """Values that would fail late or silently.

    Raises:
        UsageError: naming the key, its value and what it must be.
    """
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise UsageError("a value is needed: " + " ".join(f"{key}=..." for key in missing))
    values = flatten(OmegaConf.to_container(config, resolve=True))
    for key, value in values.items():
        if value is None and key in MAY_BE_NULL:
            continue
        null = ", or null" if key in MAY_BE_NULL else ""
        if key in LISTS and not isinstance(value, list):
            raise UsageError(f"{key}={value} must be a list, such as [3,4]")
        members = value if isinstance(value, list) and key in (*LISTS, "data.short") else [value]
        if key in AT_LEAST_ONE and not all(_is_whole(member) and member >= 1 for member in members):
            raise UsageError(f"{key}={value} must be a whole number of at least 1{null}")
        if key in AT_LEAST_ZERO and not all(_is_whole(member) and member >= 0 for member in members):
            raise UsageError(f"{key}={value} must be a whole number, 0 or more")
        if key in ABOVE_ZERO and not (_is_number(value) and value > 0):
            raise UsageError(f"{key}={value} must be a number above 0{null}")
        if key in NOT_NEGATIVE and not (_is_number(value) and value >= 0):
            raise UsageError(f"{key}={value} must be a number, 0 or more")
        if key in PROBABILITIES and not (_is_number(value) and 0 <= value <= 1):
            raise UsageError(f"{key}={value} must be a probability, a number from 0 to 1")
        if key == "data.scale_jitter" and not (value is None or _is_range(value)):
            raise UsageError(f"{key}={value} must be two rising factors above 0, as [0.5,2.0], or null")
        if key == "data.photometric" and value not in (True, False, "strong"):
            raise UsageError(f"{key}={value} must be false, true or strong")
    if values["eval.metric"] not in METRICS:
        raise UsageError(f"eval.metric={values['eval.metric']} must be one of {', '.join(METRICS)}")
    check_backend(values.get("eval.backend", "auto"))


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return _is_whole(value) or isinstance(value, float)


def _is_range(value: object) -> bool:
    pair = isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))
    return pair and 0 < value[0] <= value[1] < float("inf")  # type: ignore[index]


def choose_device(name: str) -> torch.device:
    """The device of a config; "auto" is the GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"device={name} is unknown: choose auto, cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"device={name}, but torch sees no GPU: choose device=cpu or auto")
    return device


def bf16(precision: str, device: torch.device) -> bool:
    """Whether the network runs in bfloat16 autocast; losses and assignment are float32 in any case."""
    if precision not in ("auto", "bf16", "float32"):
        raise UsageError(f"precision={precision} must be auto, bf16 or float32")
    return precision == "bf16" or (precision == "auto" and device.type == "cuda")


def build_dataset(data: DictConfig, split: str, seed: int, epochs: int | None = None) -> DetectionDataset:
    """The "train" or "val" split that the `data` group describes.

    Args:
        epochs: of the whole training; the last `data.plain_epochs` of them are plain.
    """
    if split != "train":
        return _raw_dataset(data, split, seed, eval_transform(data.eval_short, data.eval_long))
    short = data.short if isinstance(data.short, int) else list(data.short)
    plain: dict[str, Any] = {
        "short": short, "long": data.long, "flip": data.flip, "photometric": data.photometric,
    }  # fmt: skip
    transform = train_transform(**plain, expand=data.expand, crop=data.crop, scale_jitter=data.scale_jitter)
    if not (data.mosaic or data.mixup or data.plain_epochs):
        return _raw_dataset(data, split, seed, transform)
    # A mosaic has twice the side: this cuts a window out of it, in which objects are as large as elsewhere.
    twice = [2 * factor for factor in data.scale_jitter or (1, 1)]
    return AugmentedDataset(
        _raw_dataset(data, split, seed, None),
        transform,
        mosaic_transform=train_transform(**plain, scale_jitter=twice),
        plain_transform=train_transform(**plain),
        seed=seed,
        side=data.long,
        mosaic=data.mosaic,
        mixup=data.mixup,
        plain_from=None if epochs is None else epochs - data.plain_epochs,
    )


def _raw_dataset(data: DictConfig, split: str, seed: int, transform: Transform | None) -> DetectionDataset:
    if data.kind == "shapes":
        # The held-out pictures are the same for every seed of a run; training cannot draw them.
        own_seed = seed if split == "train" else 0
        return ShapesDataset(data.images[split], data.size, own_seed, data.crowd, transform)
    if data.kind == "coco":
        root, part = Path(data.root), data[split]
        if not root.is_dir():
            raise UsageError(
                f"no data set at {root}: give data.root=DIR, holding {part.images}/ and {part.annotations}"
            )
        categories = data.get("categories", "all")  # older checkpoints do not say
        # An evaluation has COCO's own rule for crowds, and no loss.
        crowds = data.get("crowd_regions", "drop") if split == "train" else "drop"
        return CocoDataset(root / part.images, root / part.annotations, transform, seed, categories, crowds)
    raise UsageError(f'data.kind must be "shapes" or "coco", got "{data.kind}"')


def build_model(config: DictConfig, classes: int) -> Detector:
    """The detector of the `model` group; with `init` no pretrained backbone is fetched for it."""
    model: Any = OmegaConf.to_container(config.model, resolve=True)
    if config.get("init") is not None:
        model["backbone"]["weights"] = None  # the checkpoint brings all weights
    detector = build_detector(model, classes, head_options(config))
    detector.use(config.eval.get("predictor"), config.eval.get("peak_window"))  # older runs have neither
    return detector


def trained_model(
    state: dict[str, Any], path: Path, dataset: DetectionDataset, device: torch.device
) -> Detector:
    """The detector of a checkpoint, with its weights, for data of the same classes.

    Raises:
        UsageError: if the classes of the data are not those it was trained on, or the weights do not fit.
    """
    classes = list(dataset.class_names)
    if classes != state["classes"]:
        raise UsageError(
            f"{path} was trained on {_listed(state['classes'])}, but the data has {_listed(classes)}: "
            "use data with the same categories"
        )
    config = OmegaConf.create(state["config"])
    assert isinstance(config, DictConfig)
    config.model.backbone.weights = None  # the checkpoint brings all weights
    model = build_model(config, len(classes))
    checkpoint.load_weights(model, state["weights"], path)
    return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def _listed(classes: list[str]) -> str:
    return f"{len(classes)} classes ({', '.join(classes[:5])}{', ...' if len(classes) > 5 else ''})"


def build_assigner(config: DictConfig) -> Assigner:
    """The assigner of the `assigner` group, which is that of the predictor that inference uses."""
    # Resolved here: in the copies that Hydra makes of nested parts, references to other groups find nothing.
    options: Any = OmegaConf.to_container(config.assigner, resolve=True)
    return assigner_from(options, config.assigner.name)
