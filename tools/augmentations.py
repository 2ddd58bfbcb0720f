"""Draws a picture of every augmentation, as docs/data.md shows it: python -m tools.augmentations"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from command_line import new_folder, option, run
from data.sample import DetectionDataset, Sample
from engine.config.compose import compose_config
from engine.setup import build_dataset
from errors import UsageError

# In the order of docs/data.md; each is set as on the command line, the rest is off.
SHOWN = (
    "flip=1", "photometric=true", "photometric=strong", "expand=1", "crop=1", "scale_jitter=[0.3,1.8]",
    "mosaic=1", "mixup=1",
)  # fmt: skip
SIZE, COLUMNS, PICTURES = 224, 6, 2  # pixels of a picture, pictures in a row and of each augmentation
FIRST = 1  # the row of the first picture
COLORS = ("#d62728", "#1f5fd0", "#0f8a3c", "#e07b00", "#8b3fc4", "#00929c", "#d4229b", "#7a4a1e")


@dataclass
class Options:
    """What the command line can set."""

    out: str = option("runs/augmentations.jpg", help="the file to write, .jpg or .png")
    seed: int = option(0, least=0, help="seed of the drawn shapes and of the augmentations")

    def __post_init__(self) -> None:
        if Path(self.out).suffix not in (".jpg", ".png"):
            raise UsageError(f"out={self.out} must end in .jpg or .png")


def main(words: Sequence[str] | None = None) -> None:
    """Draws the picture that the command line asks for."""
    run(Options, draw, __doc__, words)


def draw(options: Options) -> None:
    """Writes the picture and prints its path.

    Raises:
        UsageError: if it cannot be written.
    """
    out = Path(options.out)
    new_folder(out.parent, "out=FILE")
    quality = {"quality": 85} if out.suffix == ".jpg" else {}
    try:
        figure(options.seed).savefig(out, dpi=100, pil_kwargs=quality)
    except OSError as error:
        raise UsageError(f"{out} cannot be written ({error.strerror}): choose another out=FILE") from error
    print(out)


def figure(seed: int) -> Figure:
    """The pictures as they are, then with each augmentation, as training gets them."""
    panels: list[tuple[str, Sample]] = []
    for word in ("", *SHOWN):
        dataset = _shapes(seed, word)
        panels += [(word or "as drawn", dataset[0, FIRST + number]) for number in range(PICTURES)]
    rows = -(-len(panels) // COLUMNS)
    drawn = Figure(figsize=(12, 2.16 * rows), dpi=100, layout="constrained")
    axes = drawn.subplots(rows, COLUMNS, squeeze=False).ravel().tolist()
    for ax, (title, sample) in zip(axes, panels, strict=True):
        _draw(ax, title, sample)
    return drawn


def _shapes(seed: int, word: str) -> DetectionDataset:
    words = [f"data.size={SIZE}", "data.images.train=64", "data.flip=0", *([f"data.{word}"] if word else [])]
    config = compose_config(*words)
    return build_dataset(config.data, "train", seed)


def _draw(ax: Axes, title: str, sample: Sample) -> None:
    ax.imshow(sample.image.permute(1, 2, 0).numpy())
    for (x1, y1, x2, y2), label in zip(sample.boxes_N4.tolist(), sample.labels_N.tolist(), strict=True):
        for color, width in (("white", 3.2), (COLORS[label], 1.6)):
            # Pixel centres are whole numbers, so the edge of the first pixel is at -0.5.
            place, size = (x1 - 0.5, y1 - 0.5), (x2 - x1, y2 - y1)
            ax.add_patch(Rectangle(place, *size, fill=False, edgecolor=color, linewidth=width))
    ax.set_title(title, fontsize=11)
    ax.set_axis_off()


if __name__ == "__main__":
    main()
