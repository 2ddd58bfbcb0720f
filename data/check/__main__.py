"""Looks at a data set before it is trained on: python -m data.check data=coco data.root=DIR

The words are those of train.py that concern the data. Printed are counts and sizes of both splits, what
training leaves out, and images that stand in both; a contact sheet of each split is written to
`runs/check/NAME/`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from data.check.duplicates import duplicates
from data.check.facts import Facts, facts
from data.check.sheet import contact_sheet, save
from data.coco.dataset import CocoDataset
from engine.config.compose import check, compose_config
from engine.setup import build_dataset
from errors import UsageError, listed

SPLITS = ("train", "val")


def main(words: Sequence[str] | None = None) -> None:
    """Checks the data that the command line names."""
    words = sys.argv[1:] if words is None else words
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return
    try:
        look(_config(words), Console())
    except UsageError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


def _config(words: Sequence[str]) -> DictConfig:
    config = compose_config(*words)
    check(config)
    if config.data.kind != "coco":
        raise UsageError("give data=coco data.root=DIR, or data=coco_mini: drawn pictures need no check")
    return config


def look(config: DictConfig, console: Console) -> None:
    """Prints what both splits hold and writes their contact sheets.

    Raises:
        UsageError: if the set cannot be read at all.
    """
    datasets: dict[str, CocoDataset] = {}
    for split in SPLITS:
        own = config.data.copy()
        own.val = config.data[split]  # every split as in evaluation: nothing is augmented
        dataset = build_dataset(own, "val", 0)
        assert isinstance(dataset, CocoDataset)
        datasets[split] = dataset
    found = {split: facts(dataset) for split, dataset in datasets.items()}
    console.print(_table(found))
    console.print(_classes(found))
    for line in _advice(found):
        console.print(line, soft_wrap=True, markup=False)
    for line in _twice(datasets, console):
        console.print(line, soft_wrap=True, markup=False)
    folder = Path(config.runs_dir) / "check" / str(config.data.name)
    for split, dataset in datasets.items():
        file = folder / f"{split}.jpg"
        try:
            save(contact_sheet(dataset), file)
        except OSError as error:
            raise UsageError(f"{file} cannot be written ({error.strerror}): choose runs_dir=DIR") from error
        console.print(f"contact sheet: {file}", soft_wrap=True, markup=False)


def _table(found: dict[str, Facts]) -> Table:
    table = Table("", *found)

    def add(name: str, *cells: str) -> None:
        table.add_row(name, *cells)

    every = list(found.values())
    add("images", *(f"{own.images:,}" for own in every))
    add("smallest, median, largest", *(", ".join(f"{w}x{h}" for w, h in own.size) for own in every))
    add("higher than wide", *(f"{own.portraits:.0%}" for own in every))
    add("boxes to learn from", *(f"{own.boxes:,}" for own in every))
    add(
        "boxes per image: median, 95%, most",
        *("{}, {}, {}".format(*own.boxes_per_image[1:]) for own in every),
    )
    add("side of a box for the network, px: least, median, most",
        *("{:.0f}, {:.0f}, {:.0f}".format(*own.side) for own in every))  # fmt: skip
    add(
        "small, medium, large boxes",
        *(f"{own.small:.0%}, {own.medium:.0%}, {own.large:.0%}" for own in every),
    )
    add("images without such a box", *(f"{own.empty:,}" for own in every))
    add("left out: crowd boxes", *(f"{own.crowds:,}" for own in every))
    add("left out: boxes without area in the image", *(f"{own.without_area:,}" for own in every))
    add("left out: boxes below one pixel", *(f"{own.vanishing:,}" for own in every))
    return table


def _classes(found: dict[str, Facts], most: int = 40) -> Table:
    table = Table("class", *(f"boxes in {split}" for split in found))
    names = list(dict.fromkeys(name for own in found.values() for name in own.boxes_C))
    for name in names[:most]:
        table.add_row(name, *(f"{own.boxes_C.get(name, 0):,}" for own in found.values()))
    if len(names) > most:
        table.add_row(f"and {len(names) - most} more", *("" for _ in found))
    return table


def _advice(found: dict[str, Facts]) -> list[str]:
    """What one would want to know before the first epoch."""
    lines = []
    train, val = (found[split] for split in SPLITS)
    names = list(dict.fromkeys([*train.boxes_C, *val.boxes_C]))
    if list(train.boxes_C) != list(val.boxes_C):
        lines.append("the splits have different classes: training refuses that; use one category list")
    for split, own in found.items():
        without = [name for name in names if not own.boxes_C.get(name)]
        if without:
            lines.append(f"no box in {split}: {listed(without)}")
    if train.small > 0.5:
        lines.append("more than half of the boxes are below 32 px for the network: larger data.short helps")
    if train.boxes_per_image[3] > 100:
        lines.append(f"an image has {train.boxes_per_image[3]} boxes: raise eval.limit above 100")
    return lines


def _twice(datasets: dict[str, CocoDataset], console: Console) -> list[str]:
    train, val = ([own.folder / str(name) for name in own.truth.file_names_I] for own in datasets.values())
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("comparing images", total=len(train) + len(val))
        pairs = duplicates(train, val, lambda: bar.advance(task))
    if not pairs:
        return ["no image stands in both splits"]
    shown = listed([f"{one.name} = {other.name}" for one, other in pairs])
    return [f"{len(pairs)} pairs of images show the same in train and val, which makes AP too high: {shown}"]


if __name__ == "__main__":
    main()
