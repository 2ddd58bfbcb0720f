"""Labelled photographs to COCO's format: python -m data.convert source=DIR out=DIR

Reads YOLO .txt, Pascal VOC, LabelMe and CreateML in any usual layout. `out` then is the data.root of
data=coco: train2017/, val2017/, annotations/. Photographs with an EXIF orientation are turned upright, images
without labels stay as background, and a summary tells what was left out and why.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from command_line import option, run
from data.convert.boxes import Labelled, read
from data.convert.images import copy_upright
from data.convert.layout import FORMATS, Item, Layout, find
from errors import UsageError, listed


@dataclass
class Options:
    """What the command line can set."""

    source: str = option(help="folder with images and labels, searched with all its subfolders")
    out: str = option(help="folder of the new set, which must not be there or be empty")
    format: str = option("auto", choices=("auto", *FORMATS), help="of the labels")
    classes: list[str] = option(
        [], help="names in the wanted order; default: data.yaml's, else the alphabet's"
    )
    val: float = option(
        0.2, least=0.01, most=0.9, help="share of the images for validation if none is set apart"
    )
    seed: int = option(0, least=0, help="of that choice")


def main(words: Sequence[str] | None = None) -> None:
    """Converts what the command line names."""
    run(Options, lambda options: convert(options, Console()), __doc__, words)


def convert(options: Options, console: Console) -> None:
    """Writes the new set, all of it or nothing, and prints the summary.

    Raises:
        UsageError: if nothing can be read, or `out` holds something.
    """
    source, out = Path(options.source), Path(options.out)
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        raise UsageError(f"out={out} is there already: choose another folder")
    layout = find(source, options.format)
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        turned, labelled = _labelled(layout, part, source, options, console)
        classes = _classes(layout, labelled, options.classes)
        (part / "annotations").mkdir()
        for split, members in _by_split(labelled).items():
            content = json.dumps(_coco(layout, members, classes))
            (part / "annotations" / f"instances_{split}2017.json").write_text(content)
        if out.exists():
            out.rmdir()
        part.rename(out)
    except OSError as error:
        raise UsageError(f"out={out} cannot be written ({error.strerror}): choose another folder") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    _summary(console, layout, out, turned, classes)


def _labelled(
    layout: Layout, part: Path, source: Path, options: Options, console: Console
) -> tuple[int, list[Labelled]]:
    """Copies the images and reads their labels; the number of those that were turned, and all of them."""
    _choose_splits(layout.items, options.val, options.seed)
    pairs: list[tuple[Item, Path]] = []
    turned = 0
    taken: set[Path] = set()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("images", total=2 * len(layout.items))
        for item in layout.items:
            folder = part / f"{item.split}2017"
            folder.mkdir(exist_ok=True)
            target = folder / item.image.name
            if target in taken:  # the same name in two folders of a split
                target = folder / "_".join(item.image.relative_to(source).parts)
            taken.add(target)
            try:
                turned += copy_upright(item.image, target, item.said)
                pairs.append((item, target))
            except ValueError as error:
                layout.leave_out(str(error), str(item.image.relative_to(source)))
            bar.advance(task)
        labelled = read(layout, pairs, lambda count: bar.advance(task, count))
    kept = {one.file for one in labelled}
    for _, file in pairs:
        if file not in kept:
            file.unlink()
    if not any(one.names for one in labelled):
        raise UsageError(f"{source}: no label can be read: {_reasons(layout)}")
    return turned, labelled


def _choose_splits(items: list[Item], share: float, seed: int) -> None:
    """Images without a split belong to training; a validation set is drawn where there is none."""
    for item in items:
        item.split = item.split or "train"
    train = [item for item in items if item.split == "train"]
    if any(item.split == "val" for item in items) and train:
        return
    if len(train) < 2:
        raise UsageError(f"{len(train)} images for training and validation: at least 2 are needed")
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(train))
    for row in order[: max(1, round(share * len(train)))]:
        train[row].split = "val"


def _classes(layout: Layout, labelled: list[Labelled], wanted: list[str]) -> list[str]:
    """The union over the splits: in the order that is asked for, that of data.yaml, or of the alphabet."""
    used = sorted({name for one in labelled for name in one.names})
    classes = wanted or layout.classes or used
    missing = [name for name in used if name not in classes]
    if missing:
        raise UsageError(f"classes={wanted} lacks {listed(missing)}, which labels name")
    return classes


def _by_split(labelled: list[Labelled]) -> dict[str, list[Labelled]]:
    found: dict[str, list[Labelled]] = {}
    for one in sorted(labelled, key=lambda one: one.file):
        found.setdefault(str(one.item.split), []).append(one)
    return found


def _coco(layout: Layout, members: list[Labelled], classes: list[str]) -> dict[str, Any]:
    """The content of an annotation file; boxes are cut at the borders of their image."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, one in enumerate(members, start=1):
        with Image.open(one.file) as file:
            width, height = file.size
        images.append({"id": number, "file_name": one.file.name, "width": width, "height": height})
        boxes_N4 = one.xyxy_N4.clip(0, [width, height, width, height])
        for (x1, y1, x2, y2), name in zip(boxes_N4.tolist(), one.names, strict=True):
            if not (x2 > x1 and y2 > y1):
                layout.leave_out("box without area inside its image", one.file.name)
                continue
            box = [round(value, 3) for value in (x1, y1, x2 - x1, y2 - y1)]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": classes.index(name) + 1,
                 "bbox": box, "area": round(box[2] * box[3], 3), "iscrowd": 0}
            )  # fmt: skip
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, start=1)]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def _summary(console: Console, layout: Layout, out: Path, turned: int, classes: list[str]) -> None:
    table = Table("split", "images", "background", "boxes", *classes[:8])
    for file in sorted((out / "annotations").iterdir()):
        content = json.loads(file.read_text())
        boxes = Counter(annotation["category_id"] for annotation in content["annotations"])
        with_boxes = len({annotation["image_id"] for annotation in content["annotations"]})
        images = len(content["images"])
        counts = [
            images,
            images - with_boxes,
            boxes.total(),
            *(boxes[n + 1] for n in range(len(classes[:8]))),
        ]
        table.add_row(file.stem.removeprefix("instances_").removesuffix("2017"), *map(str, counts))
    console.print(table)
    console.print(f"{layout.format} labels, {len(classes)} classes; {turned} photographs turned upright")
    if layout.left_out:
        console.print(f"left out: {_reasons(layout)}", soft_wrap=True, markup=False)
    console.print(f"next: python -m data.check data=coco data.root={out}", soft_wrap=True, markup=False)


def _reasons(layout: Layout) -> str:
    parts = [f"{len(names)} x {reason}: {listed(names, 3)}" for reason, names in layout.left_out.items()]
    return "; ".join(parts) or "the label files are empty"


if __name__ == "__main__":
    main()
