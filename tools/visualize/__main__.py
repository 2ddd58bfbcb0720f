"""Pictures of what each assigner does: `python -m tools.visualize`, with key=value for each of these keys.

checkpoint   a model of train.py; without one, a small model is trained on shapes for about a minute, once
image        a picture, to be drawn instead of one of the model's validation set; needs the next key
annotations  the COCO-format file that tells the truths of that image
picture      which image of the validation set is drawn, counted from 0
images       how many images the statistics count
progress     of training, 0 to 1, for assigners that change with it
assigners    the rows, by the names of configs/assigner
out          the folder of assignment.png, o2f_progress.png and assignment_statistics.png
seed         of the model that is trained here
device       auto, cpu or cuda
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

# Before torch is imported, as in train.py.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from engine.setup import choose_device
from errors import UsageError
from tools.visualize.pictures import assignment_figure, progress_figure, save
from tools.visualize.sources import CONFIGS, assigner_named, brief_model, first_batches, load
from tools.visualize.statistics import markers, scene, statistics
from tools.visualize.statistics_picture import statistics_figure

PROGRESS = (0.0, 0.5, 1.0)


@dataclass
class Options:
    """What the command line can set; the module's docstring explains each."""

    checkpoint: str | None = None
    image: str | None = None
    annotations: str | None = None
    picture: int = 0
    images: int = 300
    progress: float = 0.0
    assigners: list[str] = field(default_factory=lambda: ["atss", "simota", "tal", "o2f"])
    out: str = "runs/visualize"
    seed: int = 0
    device: str = "auto"


def main(words: Sequence[str] | None = None) -> None:
    """Draws what the command line asks for."""
    words = sys.argv[1:] if words is None else words
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return
    try:
        for path in visualize(parse(words)):
            print(path)
    except UsageError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


def parse(words: Sequence[str]) -> Options:
    """The options that key=value words give.

    Raises:
        UsageError: for an unknown key, with those that are known, or a value that its key cannot take.
    """
    known = OmegaConf.structured(Options)
    for word in words:
        key, equals, _ = word.partition("=")
        if not equals or key not in known:
            raise UsageError(f"{word}: arguments are key=value, and the keys are {', '.join(known)}")
        try:
            known.merge_with_dotlist([word])
        except OmegaConfBaseException as error:
            raise UsageError(f"{word}: {str(error).splitlines()[0]}") from error
    options = OmegaConf.to_object(known)
    assert isinstance(options, Options)
    if (options.image is None) != (options.annotations is None):
        raise UsageError("image=FILE and annotations=FILE go together: the truths of the image must be known")
    if options.image is not None and options.checkpoint is None:
        raise UsageError("image=FILE needs checkpoint=FILE, of a model that was trained on such images")
    if not 0 <= options.progress <= 1 or options.images < 1 or options.seed < 0:
        raise UsageError("progress lies in 0 to 1, images is at least 1 and seed at least 0")
    choices = sorted(path.stem for path in (CONFIGS / "assigner").glob("*.yaml"))
    unknown = [name for name in options.assigners if name not in choices]
    if unknown or not options.assigners:
        raise UsageError(f"assigners={options.assigners}: choose from {', '.join(choices)}")
    return options


def visualize(options: Options) -> list[Path]:
    """Draws the three pictures.

    Returns:
        Their files; that of progress only where an assigner has soft targets.

    Raises:
        UsageError: if the options, the checkpoint and the data do not fit together.
    """
    out, device = _folder(options.out), choose_device(options.device)
    path = Path(options.checkpoint) if options.checkpoint else brief_model(out, options.seed, options.device)
    image, annotations = (Path(f) if f else None for f in (options.image, options.annotations))
    config, model, dataset = load(path, image, annotations, device)
    if not 0 <= options.picture < len(dataset):
        raise UsageError(f"picture={options.picture}: the data has {len(dataset)} images, counted from 0")
    assigners = {name: assigner_named(name, config) for name in options.assigners}
    shown = scene(model, dataset[options.picture], device)
    found = {name: markers(assigner, shown, options.progress) for name, assigner in assigners.items()}
    falling = next((assigner for assigner in assigners.values() if hasattr(assigner, "soft_target")), None)
    note = "from the same predictions"
    if falling is not None:
        note += f", with O2F at progress {options.progress:g}"
    figures = {"assignment": assignment_figure(shown, found, note)}
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


def _folder(out: str) -> Path:
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{out} cannot be written ({error.strerror}): choose another out=DIR") from error
    return Path(out)


if __name__ == "__main__":
    main()
