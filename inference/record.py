"""What inference needs beside the weights: classes and preprocessing. Every checkpoint and export carries it.

Shape legend: H, W height and width in pixels, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from errors import UsageError

Pixels = Annotated[int, Meta(ge=1)]
Count = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, le=1)]
Channel = Annotated[int, Meta(ge=0, le=255)]


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the record: unknown keys are an error, since an older version would ignore what they ask."""


class Resize(Part, frozen=True):
    """The ratio is kept: the shorter side becomes `short`, unless the longer side would exceed `long`.

    Attributes:
        long: None makes squares of side `short` and does not keep the ratio.
        rounding: of both sides to whole pixels; at least 2 pixels are left.
        filter: how pixels are computed, see `inference.pixels.resized`.
    """

    short: Pixels
    long: Pixels | None
    rounding: Literal["half_to_even"] = "half_to_even"
    filter: Literal["bilinear_antialiased"] = "bilinear_antialiased"

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of an image of this size after resizing."""
        if self.long is None:
            return self.short, self.short
        scale = min(self.short / min(height, width), self.long / max(height, width))
        return max(2, round(height * scale)), max(2, round(width * scale))


class Padding(Part, frozen=True):
    """Each image is padded at the right and the bottom to sides that are multiples of `multiple` pixels."""

    color: tuple[Channel, Channel, Channel]
    multiple: Pixels

    def canvas(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the network input for a resized image."""
        return -(-height // self.multiple) * self.multiple, -(-width // self.multiple) * self.multiple


class Normalization(Part, frozen=True):
    """RGB of 0 to 255, minus `mean`, divided by `std`. It is part of the network: inputs are uint8."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class Selection(Part, frozen=True):
    """The options of `detector.select`, and which of its functions a caller gets who names none."""

    default: Literal["topk", "nms"]
    score: Share
    candidates: Count
    limit: Count
    nms_iou: Annotated[float, Meta(ge=0)]


class Record(Part, frozen=True):
    """Everything that `predict` must know.

    Attributes:
        classes: C names.
        category_ids: the id of each class in COCO results.
    """

    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    resize: Resize
    padding: Padding
    normalization: Normalization
    selection: Selection
    version: Literal[1] = 1

    def plain(self) -> dict[str, Any]:
        """The record as dicts, lists, strings and numbers."""
        return dict(msgspec.to_builtins(self))

    def json(self) -> str:
        """The record as JSON."""
        return msgspec.json.encode(self).decode()


def require_checkpoint(path: Path) -> None:
    """Raises UsageError if there is no such file."""
    if not path.is_file():
        raise UsageError(f"no checkpoint at {path}: give the last.pt or best.pt of a run")


def read_record(content: Any, path: Path) -> Record:
    """The record from what `Record.plain` gave.

    Raises:
        UsageError: naming `path` and the key that is wrong.
    """
    try:
        record = msgspec.convert(content, Record)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"{path}: its preprocessing record is damaged or of another version: {error}"
        ) from error
    if not len(record.classes) == len(record.category_ids) > 0:
        raise UsageError(
            f"{path}: its preprocessing record has {len(record.classes)} classes "
            f"and {len(record.category_ids)} category ids"
        )
    return record


def record_of_run(
    config: Mapping[str, Any],
    classes: tuple[str, ...],
    category_ids: tuple[int, ...],
    padding: Padding,
    normalization: Normalization,
) -> Record:
    """The record of a run from its config: inference prepares images as its evaluation does.

    Args:
        config: the whole config of the run, plain or as OmegaConf has it.
        classes, category_ids: of its data set.
        padding, normalization: of the loader and the detector.
    """
    data, options = config["data"], config["eval"]
    return Record(
        classes=classes,
        category_ids=category_ids,
        resize=Resize(data["eval_short"], None if data.get("square") else data["eval_long"]),
        padding=padding,
        normalization=normalization,
        selection=Selection(
            default="nms" if options["metric"] == "nms" else "topk",
            score=float(options["score_threshold"]),
            candidates=options["candidates"],
            limit=options["limit"],
            nms_iou=float(options["nms_iou"]),
        ),
    )
