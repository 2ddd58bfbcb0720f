"""From a config to its parts: data sets, detector, assigner, device; all of it checked before work starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from assigners import Assigner
from data.augment.augmented import AugmentedDataset
from data.augment.transforms import eval_transform, train_transform
from data.coco.dataset import CocoDataset
from data.sample import DetectionDataset, Transform
from data.shapes.dataset import ShapesDataset
from detector.detector import Detector, build_detector
from engine.predictors import assigner_from, head_options
from engine.run import checkpoint
from errors import UsageError, listed


def choose_device(name: str) -> torch.device:
    """The device of a config; "auto" is a GPU of CUDA or ROCm where there is one, else the CPU.

    Raises:
        UsageError: for a device that this machine does not have, or that cannot do what is needed.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"device={name} is unknown: choose auto, cpu or cuda") from error
    if device.type == "mps":
        raise UsageError("device=mps has no float64, in which NMS and ATSS compute: choose device=cpu")
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"device={name} is not supported: choose auto, cpu or cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"device={name}, but torch sees no GPU: choose device=cpu or auto")
    return device


def bf16(precision: str, device: torch.device, network: nn.Module) -> bool:
    """Whether the network runs in bfloat16 autocast; losses and assignment are float32 in any case.

    "auto" takes it where it is faster: on a GPU that computes it natively, since older ones emulate it; on a
    CPU with avx512_bf16 or AMX for a network without depthwise convolutions, whose backward pass is slower
    there than in float32.
    """
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # torch.cpu.get_capabilities() is not there in all versions of torch that are allowed.
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    convolutions = (part for part in network.modules() if isinstance(part, nn.Conv2d))
    return native and not any(part.groups == part.in_channels > 1 for part in convolutions)


def build_dataset(data: DictConfig, split: str, seed: int, epochs: int | None = None) -> DetectionDataset:
    """The "train" or "val" split that the `data` group describes.

    Args:
        epochs: of the whole training; the last `data.plain_epochs` of them are plain.
    """
    if split != "train":
        transform = eval_transform(data.eval_short, data.eval_long, data.square)
        return _raw_dataset(data, split, seed, transform)
    for key in ("scale_jitter", "mosaic", "mixup"):
        if data.square and data[key]:
            raise UsageError(f"data.{key}={data[key]} does not go with data.square=true; leave one out")
    plain: dict[str, Any] = {
        "short": None if data.square else sides(data),
        "long": data.long,
        "flip": data.flip,
        "photometric": data.photometric,
    }
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


def sides(data: DictConfig) -> list[int]:
    """The sides of which training draws one."""
    return [data.short] if isinstance(data.short, int) else list(data.short)


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
        options: dict[str, Any] = {key: data[key] for key in ("categories", "cache", "draft")}
        if data.cache_dir is not None:
            options["cache_dir"] = Path(data.cache_dir)
        if split == "train":  # an evaluation has COCO's own rule for crowds, and counts every image
            options |= {"crowd_regions": data.crowd_regions, "filter_empty": data.filter_empty}
        return CocoDataset(root / part.images, root / part.annotations, transform, seed, **options)
    raise UsageError(f'data.kind must be "shapes" or "coco", got "{data.kind}"')


def build_model(config: DictConfig, classes: int, pretrained: bool = True) -> Detector:
    """The detector of the `model` group; with `init` no pretrained backbone is fetched for it."""
    model: Any = OmegaConf.to_container(config.model, resolve=True)
    if config.init is not None or not pretrained:
        model["backbone"]["weights"] = None
    detector = build_detector(model, classes, head_options(config))
    detector.use(config.eval.predictor, config.eval.peak_window)
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
    model = build_model(config, len(classes), pretrained=False)
    checkpoint.load_weights(model, state["weights"], path)
    return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def _listed(classes: list[str]) -> str:
    return f"{len(classes)} classes ({listed(classes)})"


def build_assigner(config: DictConfig) -> Assigner:
    """The assigner of the `assigner` group, which is that of the predictor that inference uses."""
    # Resolved here: in the copies that Hydra makes of nested parts, references to other groups find nothing.
    options: Any = OmegaConf.to_container(config.assigner, resolve=True)
    return assigner_from(options, config.assigner.name)
