"""A picture of every augmentation: `python -m tools.augmentations`, with key=value for each of these keys.

out    the file to write, .jpg or .png
seed   of the drawn shapes and of the augmentations
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from omegaconf import DictConfig

from data.sample import DetectionDataset, Sample
from engine.setup import build_dataset
from errors import UsageError

CONFIGS = Path(__file__).parents[1] / "configs"
# In the order of docs/data.md; each is set as on the command line, the rest is off.
SHOWN = (
    "flip=1", "photometric=true", "photometric=strong", "expand=1", "crop=1", "scale_jitter=[0.3,1.8]",
    "mosaic=1", "mixup=1",
)  # fmt: skip
SIZE, COLUMNS, PICTURES = 224, 6, 2  # pixels of a picture, pictures in a row and of each augmentation
FIRST = 1  # the row of the first picture
COLORS = ("#d62728", "#1f5fd0", "#0f8a3c", "#e07b00", "#8b3fc4", "#00929c", "#d4229b", "#7a4a1e")


def main(words: Sequence[str] | None = None) -> None:
    """Draws the picture that the command line asks for."""
    words = sys.argv[1:] if words is None else words
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return
    try:
        out, seed = parse(words)
        out.parent.mkdir(parents=True, exist_ok=True)
        options = {"quality": 85} if out.suffix == ".jpg" else {}
        figure(seed).savefig(out, dpi=100, pil_kwargs=options)
        print(out)
    except UsageError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{out} cannot be written ({error.strerror}): choose another out=FILE")


def parse(words: Sequence[str]) -> tuple[Path, int]:
    """The file and the seed that key=value words give.

    Raises:
        UsageError: for an unknown key or a value that its key cannot take.
    """
    values = {"out": "runs/augmentations.jpg", "seed": "0"}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in values:
            raise UsageError(f"{word}: arguments are key=value, and the keys are {', '.join(values)}")
        values[key] = value
    if not values["seed"].isdecimal():
        raise UsageError(f"seed={values['seed']} must be a whole number, 0 or more")
    out = Path(values["out"])
    if out.suffix not in (".jpg", ".png"):
        raise UsageError(f"out={out} must end in .jpg or .png")
    return out, int(values["seed"])


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
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config: DictConfig = compose("train", words)
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
