"""The answers of the page's endpoints, without HTTP."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from assigners import Assigner
from errors import UsageError
from tools.demo.images import Samples, png
from tools.demo.models import Model, Scene, candidates, points, positives

HELD = 8  # images that stay in memory, the latest


class Session:
    """The checkpoints, and the images that the page has shown last."""

    def __init__(self, models: Sequence[Model], assigners: Mapping[str, Assigner], samples: Samples) -> None:
        self.models, self.assigners, self.samples = models, assigners, samples
        self._held: OrderedDict[int, tuple[bytes, list[Scene]]] = OrderedDict()
        self._lock = threading.Lock()
        self._next = 1

    def about(self) -> dict[str, Any]:
        """The checkpoints and the assigners."""
        return {
            "checkpoints": [
                {
                    "name": model.name,
                    "classes": model.record.classes,
                    "candidates": model.record.selection.candidates,
                    "limit": model.record.selection.limit,
                    "iou": model.record.selection.nms_iou,
                }
                for model in self.models
            ],
            "assigners": list(self.assigners),
        }

    def show(self, image_HW3: np.ndarray) -> dict[str, Any]:
        """Runs every checkpoint once on an image: its candidates and points, in pixels of its input."""
        with self._lock:
            scenes = [model.scene(image_HW3) for model in self.models]
            number, self._next = self._next, self._next + 1
            self._held[number] = (png(image_HW3), scenes)
            if len(self._held) > HELD:
                self._held.popitem(last=False)
        height, width = image_HW3.shape[:2]
        return {
            "image": number,
            "height": height,
            "width": width,
            "results": [
                {"size": scene.size, **candidates(scene), "grid": points(scene.grid)} for scene in scenes
            ],
        }

    def picture(self, number: int) -> bytes:
        """The PNG file of an image.

        Raises:
            UsageError: if it is no longer held.
        """
        return self._image(number)[0]

    def assign(self, asked: Any) -> dict[str, Any]:
        """The positives of each assigner for a box.

        Args:
            asked: {image, checkpoint (row), box: xyxy in pixels of its network input, label, progress}.

        Raises:
            UsageError: for a value that is missing or out of range.
        """
        if not isinstance(asked, dict):
            raise UsageError("an object with image, checkpoint, box, label and progress is needed")
        _, scenes = self._image(asked.get("image"))
        row = _whole(asked, "checkpoint", len(scenes))
        label = _whole(asked, "label", len(self.models[row].record.classes))
        progress: Any = asked.get("progress")
        box: Any = asked.get("box")
        if not _number(progress) or not 0 <= progress <= 1:
            raise UsageError(f"progress={progress} must be a number from 0 to 1")
        if not isinstance(box, list) or len(box) != 4 or not all(map(_number, box)):
            raise UsageError(f"box={box} must be four numbers")
        height, width = scenes[row].size
        if not (0 <= box[0] < box[2] <= width and 0 <= box[1] < box[3] <= height):
            raise UsageError(
                f"box={box} must lie within the image, {width} x {height}, and have sides above 0"
            )
        return {
            name: positives(assigner, scenes[row], [float(side) for side in box], label, float(progress))
            for name, assigner in self.assigners.items()
        }

    def _image(self, number: Any) -> tuple[bytes, list[Scene]]:
        with self._lock:
            found = self._held.get(number) if isinstance(number, int) else None
        if found is None:
            raise UsageError(f"image {number} is not held any more: load it again")
        return found


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _whole(asked: dict[str, Any], key: str, count: int) -> int:
    value = asked.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < count:
        raise UsageError(f"{key}={value} must be a whole number from 0 to {count - 1}")
    return value
