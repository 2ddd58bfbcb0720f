"""Adds the preprocessing record to a checkpoint that has none: `python -m tools.record checkpoint=FILE`.

The record is made from the config that the checkpoint holds. Category ids are read from the run's data set
or, where that is not at hand, from annotations=FILE, a COCO-format file of the same categories.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from command_line import option, run
from data.coco.categories import regrouped
from data.coco.read import read_annotations
from engine.record import for_inference
from engine.run import checkpoint
from engine.setup import build_dataset
from errors import UsageError, listed


@dataclass
class Options:
    """What the command line can set."""

    checkpoint: str = option(help="file of a run: last.pt or best.pt")
    annotations: str | None = option(None, help="COCO-format file of the same categories")


def main(words: Sequence[str] | None = None) -> None:
    """Adds what the command line asks for."""
    run(Options, add_record, __doc__, words)


def add_record(options: Options) -> None:
    """Writes the checkpoint anew, with the record.

    Raises:
        UsageError: if the data is of other classes than the checkpoint.
    """
    path = Path(options.checkpoint)
    state = checkpoint.load(path)
    config = OmegaConf.create(state["config"])
    assert isinstance(config, DictConfig)
    if options.annotations is None:
        dataset = build_dataset(config.data, "val", config.seed)
        classes, category_ids = dataset.class_names, dataset.category_ids
    else:
        file = Path(options.annotations)
        truth = regrouped(read_annotations(file), config.data.get("categories", "all"), file)
        classes, category_ids = truth.class_names, truth.category_ids
    if list(classes) != state["classes"]:
        raise UsageError(
            f"{path} was trained on {first(state['classes'])}, the data has {first(classes)}: "
            "give annotations=FILE of the same categories"
        )
    checkpoint.save(path, state | for_inference(config, classes, category_ids))
    print(f"{path}: record added, {len(classes)} classes")


def first(names: Sequence[str]) -> str:
    """The number of names and the first of them."""
    return f"{len(names)} classes ({listed(names)})"


if __name__ == "__main__":
    main()
