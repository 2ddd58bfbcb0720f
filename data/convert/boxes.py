"""Reads the labels of images by supervision.DetectionDataset, a few images at a time.

So a label file that it refuses costs its own image and not the set, and masks that it draws of polygons do
not fill the memory.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import yaml

from data.convert.layout import Item, Layout

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that OpenCV, which is not needed here, is missing
    import supervision as sv

_AT_ONCE = 32  # images


@dataclass
class Labelled:
    """An image of the new set with its boxes.

    Attributes:
        item: where it comes from.
        file: the image file of the new set.
        xyxy_N4: float64, in pixels of `file`.
        names: the class of each box.
    """

    item: Item
    file: Path
    xyxy_N4: np.ndarray
    names: list[str]


def read(layout: Layout, pairs: Sequence[tuple[Item, Path]], done: Callable[[int], None]) -> list[Labelled]:
    """The boxes of all images whose labels can be read; `layout.left_out` names the others.

    Args:
        pairs: each image and its file in the new set.
        done: is called with the number of images that were read.
    """
    found: list[Labelled] = []
    for start in range(0, len(pairs), _AT_ONCE):
        chunk = pairs[start : start + _AT_ONCE]
        found += _read(layout, chunk)
        done(len(chunk))
    return found


def _read(layout: Layout, pairs: Sequence[tuple[Item, Path]]) -> list[Labelled]:
    try:
        with TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            dataset, paths = _dataset(layout, pairs, Path(folder))
            found = []
            for (item, file), path in zip(pairs, paths, strict=True):
                boxes = dataset.annotations.get(path, sv.Detections.empty())
                labels = [] if boxes.class_id is None else boxes.class_id.tolist()
                names = [str(dataset.classes[label]) for label in labels]
                found.append(Labelled(item, file, boxes.xyxy.astype(np.float64).reshape(-1, 4), names))
    except Exception as error:  # whatever a broken label file makes of the reader
        if len(pairs) == 1:
            label = (pairs[0][0].label or pairs[0][0].image).name
            # Without the names that the files have for the reader only.
            reason = re.sub(r" (for image|file|at) '[^']*'", "", str(error) or type(error).__name__)
            layout.leave_out("label that cannot be read, with its image", f"{label} ({reason[:100]})")
            return []
        middle = len(pairs) // 2
        return _read(layout, pairs[:middle]) + _read(layout, pairs[middle:])
    for message in {str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)}:
        layout.leave_out("shapes that are no boxes", message)
    return found


def _dataset(
    layout: Layout, pairs: Sequence[tuple[Item, Path]], folder: Path
) -> tuple[sv.DetectionDataset, list[str]]:
    """The data set of these images under numbers for names, and the path of each in it."""
    images, labels = folder.resolve() / "images", folder.resolve() / "labels"
    images.mkdir()
    labels.mkdir()
    paths = [images / f"{number:06d}{file.suffix.lower()}" for number, (_, file) in enumerate(pairs)]
    entries = []
    for (item, file), path in zip(pairs, paths, strict=True):
        if layout.format in ("yolo", "voc"):  # the others do not open the image, and CreateML follows links
            path.symlink_to(file.resolve())
        if layout.format == "createml":
            entries.append({**(item.entry or {"annotations": []}), "image": path.name})
        elif item.label is None:
            continue
        elif layout.format == "labelme":
            content = json.loads(item.label.read_bytes()) | {"imagePath": path.name}
            (labels / f"{path.stem}.json").write_text(json.dumps(content))
        else:
            (labels / f"{path.stem}{item.label.suffix.lower()}").symlink_to(item.label.resolve())
    places = str(images), str(labels)
    if layout.format == "yolo":
        names = folder / "data.yaml"
        names.write_text(yaml.safe_dump({"names": layout.classes}))
        return sv.DetectionDataset.from_yolo(*places, str(names)), [str(path) for path in paths]
    if layout.format == "voc":
        return sv.DetectionDataset.from_pascal_voc(*places), [str(path) for path in paths]
    if layout.format == "labelme":
        return sv.DetectionDataset.from_labelme(*places), [str(path) for path in paths]
    file = folder / "createml.json"
    file.write_text(json.dumps(entries))
    return sv.DetectionDataset.from_createml(str(images), str(file)), [str(path) for path in paths]
