"""Draws which points each assigner makes positive: python -m tools.visualize

Writes assignment.png, o2f_progress.png and assignment_statistics.png. Without checkpoint=FILE a small model
is trained on drawn shapes first, about a minute, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import engine.host  # noqa: F401  # before torch is imported
from command_line import new_folder, option, run
from engine.config.compose import CONFIGS
from engine.setup import choose_device
from errors import UsageError
from tools.visualize.pictures import assignment_figure, family_figure, progress_figure, save
from tools.visualize.sources import assigner_named, brief_model, first_batches, load
from tools.visualize.statistics import markers, scene, statistics
from tools.visualize.statistics_picture import statistics_figure

PROGRESS = (0.0, 0.5, 1.0)
ROWS = 5  # assigners; more have one panel each, without a column for every level


ASSIGNERS = sorted(path.stem for path in (CONFIGS / "assigner").glob("*.yaml"))


@dataclass
class Options:
    """What the command line can set."""

    checkpoint: str | None = option(None, help="a model of train.py; without one, a small model is trained")
    image: str | None = option(None, help="an image to draw in place of one of the model's validation set")
    annotations: str | None = option(None, help="the COCO-format file with the ground truth of that image")
    picture: int = option(0, least=0, help="which image of the validation set is drawn, counted from 0")
    images: int = option(300, least=1, help="how many images the statistics count")
    progress: float = option(0.0, least=0, most=1, help="of training, for assigners that change with it")
    assigners: list[str] = option(
        ["atss", "simota", "tal", "o2f"],
        choices=ASSIGNERS,
        help="the rows, or panels if there are more than five, by their names in configs/assigner",
    )
    out: str = option("runs/visualize", help="folder of the pictures")
    seed: int = option(0, least=0, help="seed of the model that is trained here")
    device: str = option("auto", help="auto, cpu or cuda")

    def __post_init__(self) -> None:
        if (self.image is None) != (self.annotations is None):
            raise UsageError("image=FILE and annotations=FILE go together: the image needs its ground truth")
        if self.image is not None and self.checkpoint is None:
            raise UsageError("image=FILE needs checkpoint=FILE, of a model that was trained on such images")


def main(words: Sequence[str] | None = None) -> None:
    """Draws what the command line asks for and prints the paths of the pictures."""
    run(Options, lambda options: print(*visualize(options), sep="\n"), __doc__, words)


def visualize(options: Options) -> list[Path]:
    """Draws the three pictures.

    Returns:
        Their files; that of progress only where an assigner has soft targets.

    Raises:
        UsageError: if the options, the checkpoint and the data do not fit together.
    """
    out, device = new_folder(options.out), choose_device(options.device)
    path = Path(options.checkpoint) if options.checkpoint else brief_model(out, options.seed, options.device)
    image, annotations = (Path(f) if f else None for f in (options.image, options.annotations))
    config, model, dataset = load(path, image, annotations, device)
    if options.picture >= len(dataset):
        raise UsageError(f"picture={options.picture}: the data has {len(dataset)} images, counted from 0")
    assigners = {name: assigner_named(name, config) for name in options.assigners}
    shown = scene(model, dataset[options.picture], device)
    found = {name: markers(assigner, shown, options.progress) for name, assigner in assigners.items()}
    falling = next((one for one in assigners.values() if one.soft_target(1.0) is not None), None)
    note = "from the same predictions"
    if falling is not None:
        note += f", with O2F at progress {options.progress:g}"
    draw = assignment_figure if len(found) <= ROWS else family_figure
    figures = {"assignment": draw(shown, found, note)}
    if falling is not None:
        at = {progress: markers(falling, shown, progress) for progress in PROGRESS}
        tops = [falling.soft_target(progress) for progress in PROGRESS]
        figures["o2f_progress"] = progress_figure(shown, at, tops)
    batches = first_batches(dataset, options.images)
    counted = statistics(model, batches, assigners, options.progress, device)
    where = config.data.name if annotations is None else annotations.name
    note = f"{min(options.images, len(dataset))} images of {where}, {note}"
    figures["assignment_statistics"] = statistics_figure(counted, shown.grid.strides, note)
    for name, figure in figures.items():
        save(figure, out / f"{name}.png")
    return [out / f"{name}.png" for name in figures]


if __name__ == "__main__":
    main()
