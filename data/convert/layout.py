"""Finds the images, labels, classes and splits of a labelled folder, whatever its layout.

An image belongs to the label file of the same name whose path has most in common with its own. A split is
named by a folder (train, val, valid, validation, test) or by a list, as VOC's ImageSets/Main/train.txt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.convert.sidecars import SPLITS, read_json, said_size, split_lists, yolo_classes
from errors import UsageError

FORMATS = ("yolo", "voc", "labelme", "createml")
IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


@dataclass
class Item:
    """An image and what is known of it.

    Attributes:
        label: its label file; None for a background image.
        entry: its entry in CreateML's list, in place of a file of its own.
        split: train, val, test, or None where nothing names one.
        said: (width, height) that the label gives, if it does.
    """

    image: Path
    label: Path | None = None
    entry: dict[str, Any] | None = None
    split: str | None = None
    said: tuple[int, int] | None = None


@dataclass
class Layout:
    """What a folder holds; `left_out` maps a reason to the files that it concerns."""

    format: str
    items: list[Item]
    classes: list[str] | None = None
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def leave_out(self, reason: str, name: str) -> None:
        """Notes that a file, or a part of it, is not taken over."""
        self.left_out.setdefault(reason, []).append(name)


def find(source: Path, wanted: str = "auto") -> Layout:
    """The layout of `source`.

    Args:
        wanted: one of FORMATS, or auto.

    Raises:
        UsageError: if there are no images or labels, several formats, or COCO's own.
    """
    if not source.is_dir():
        raise UsageError(f"source={source} is no folder")
    hidden = (path for path in sorted(source.rglob("*")) if path.is_file())
    files = [path for path in hidden if not any(p.startswith(".") for p in path.relative_to(source).parts)]
    images = [path for path in files if path.suffix.lower() in IMAGES]
    if not images:
        raise UsageError(f"source={source} holds no image ({', '.join(IMAGES)})")
    labels = _labels(source, files, {path.stem for path in images}, wanted)
    layout = Layout(wanted if wanted != "auto" else next(iter(labels)), [])
    lists = split_lists(files)
    found = labels[layout.format]
    if layout.format == "createml":
        _from_lists(layout, source, images, found)
    else:
        _from_files(layout, source, images, found)
    for item in layout.items:
        item.split = lists.get(item.image.stem) or _split(item.image.relative_to(source))
        item.said = said_size(item.label)
    if layout.format == "yolo":
        layout.classes = yolo_classes(source, files)
    return layout


def _labels(source: Path, files: Sequence[Path], stems: set[str], wanted: str) -> dict[str, list[Path]]:
    """The label files of each format that is there, or of the wanted one."""
    found: dict[str, list[Path]] = {}
    for path in files:
        kind = _kind(path, stems)
        if kind:
            found.setdefault(kind, []).append(path)
    if "coco" in found and wanted == "auto":
        file = found["coco"][0].relative_to(source)
        raise UsageError(
            f"{source} is in COCO's format already: python train.py data=coco data.root={source} "
            f"data.train.annotations={file} data.train.images=FOLDER, and the same for data.val"
        )
    found.pop("coco", None)
    if wanted != "auto":
        found = {kind: paths for kind, paths in found.items() if kind == wanted}
    if not found:
        raise UsageError(
            f"source={source} holds no labels that are known: YOLO (.txt beside a data.yaml), Pascal VOC "
            "(.xml), LabelMe or CreateML (.json)"
        )
    if len(found) > 1:
        kinds = " and ".join(f"{kind} ({len(paths)} files)" for kind, paths in found.items())
        raise UsageError(
            f"source={source} holds labels as {kinds}: choose one, such as format={next(iter(found))}"
        )
    return found


def _kind(path: Path, stems: set[str]) -> str | None:
    suffix = path.suffix.lower()
    if suffix == ".txt" and path.stem in stems:
        return "yolo"
    if suffix == ".xml" and path.stem in stems:
        return "voc"
    if suffix == ".json":
        content = read_json(path)
        if isinstance(content, list) and content and isinstance(content[0], dict) and "image" in content[0]:
            return "createml"
        if isinstance(content, dict) and "shapes" in content:
            return "labelme"
        if isinstance(content, dict) and {"images", "annotations", "categories"} <= set(content):
            return "coco"
    return None


def _from_files(layout: Layout, source: Path, images: Sequence[Path], labels: Iterable[Path]) -> None:
    """One label file for an image: of those of its name the nearest, and each for one image only."""
    by_stem: dict[str, list[Path]] = {}
    for label in labels:
        by_stem.setdefault(label.stem, []).append(label)
    claims: dict[Path, list[Path]] = {}
    for image in images:
        near = [label for label in by_stem.get(image.stem, []) if _may_belong(image, label, source)]
        if near:
            claims.setdefault(max(near, key=lambda label: _shared(image, label, source)), []).append(image)
        else:
            layout.items.append(Item(image))
    for label, rivals in claims.items():
        best = max(rivals, key=lambda image: _shared(image, label, source))
        layout.items.append(Item(best, label))
        for image in rivals:
            if image is not best:
                layout.leave_out("another image of this name has the label", str(image.relative_to(source)))
    layout.items.sort(key=lambda item: item.image)
    for labels_of_stem in by_stem.values():
        for label in labels_of_stem:
            if label not in claims:
                layout.leave_out("label file without an image", str(label.relative_to(source)))


def _from_lists(layout: Layout, source: Path, images: Sequence[Path], files: Sequence[Path]) -> None:
    """CreateML: one list for the images of a folder."""
    places = {path: Item(path) for path in images}
    for file in files:
        for entry in read_json(file):
            name = str(entry.get("image")) if isinstance(entry, dict) else str(entry)
            near = [
                path for path in images if path.name == Path(name).name and _may_belong(path, file, source)
            ]
            if not near:
                layout.leave_out("label without an image", f"{file.relative_to(source)}: {name}")
                continue
            places[max(near, key=lambda path: _shared(path, file, source))].entry = entry
    layout.items = list(places.values())


def _may_belong(image: Path, label: Path, source: Path) -> bool:
    splits = {_split(path.relative_to(source)) for path in (image, label)} - {None}
    return len(splits) < 2


def _shared(image: Path, label: Path, source: Path) -> int:
    parts = (Counter(path.relative_to(source).parent.parts) for path in (image, label))
    return sum((next(parts) & next(parts)).values())


def _split(path: Path) -> str | None:
    named = [SPLITS[part.lower()] for part in path.parent.parts if part.lower() in SPLITS]
    return named[-1] if named else None
