"""From JPEG files to a batch beside torchvision's reference pipeline, on one core.

    python -m benchmarks.data.loading                  # drawn photographs of 640x480
    python -m benchmarks.data.loading root=DIR         # the training images of a COCO-format set
    python -m benchmarks.data.loading images=2 repeats=1

Theirs opens a file by Pillow, converts it to a tensor, and resizes and flips it by transforms v2, as their
reference scripts for detection do; "PIL" resizes the Pillow image instead. All ways give uint8 batches of 8,
padded to one size. Ratios are to the faster of theirs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from benchmarks.core.turns import machine, medians, table, write
from command_line import option, run
from data import decode
from data.augment.transforms import train_transform
from data.coco.dataset import CocoDataset
from data.loader import collate

BATCH = 8
SIZES = {"320": (320, 320), "800x1333": (800, 1333)}  # shorter side, longer side at most
THEIRS = ("torchvision, tensor", "torchvision, PIL")
HEADER = ("size", "pipeline", "images a second", "times as fast as torchvision's")


@dataclass
class Options:
    """What the command line can set."""

    root: str | None = option(None, help="a COCO-format set; default: drawn photographs of 640x480")
    images: int = option(64, least=1, help="of the set")
    repeats: int = option(5, least=1, help="turns")
    sizes: list[str] = option(list(SIZES), choices=tuple(SIZES), help="shorter and longer side in px")
    out: str = option("benchmarks/results/data", help="folder of loading.json and loading.md")


def draw(root: Path, count: int) -> None:
    """A COCO-format set of photographs, about as hard to decode as COCO's (3 bits a pixel), 7 boxes each."""
    rng = np.random.default_rng(0)
    (root / "train2017").mkdir()
    (root / "annotations").mkdir()
    annotations: list[dict[str, Any]] = []
    for number in range(count):
        picture = np.zeros((480, 640, 3))
        for cells in (5, 20, 80):  # structures of all sizes, the small ones faint
            coarse = rng.integers(0, 256, (3 * cells // 4 + 1, cells, 3), dtype=np.uint8)
            layer = Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC)
            picture += np.asarray(layer) * (0.6 * 5 / cells)
        noisy = picture * (255 / picture.max()) + rng.normal(0, 6, picture.shape)
        pixels = noisy.clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(root / "train2017" / f"{number}.jpg", quality=90)
        for x, y, w, h in rng.integers(10, 200, (7, 4)).tolist():
            box = {"bbox": [x, y, w, h], "image_id": number, "category_id": 1, "id": len(annotations)}
            annotations.append(box)
    images = [{"id": n, "file_name": f"{n}.jpg", "width": 640, "height": 480} for n in range(count)]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "thing"}]}
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(content))


class Theirs:
    """torchvision's reference pipeline for detection, which leaves the images as uint8."""

    def __init__(self, dataset: CocoDataset, short: int, long: int, pil: bool) -> None:
        self.dataset, self.pil = dataset, pil
        self.files = [dataset.folder / str(name) for name in dataset.truth.file_names_I]
        resize = v2.Resize(short, max_size=long) if short < long else v2.Resize(None, max_size=long)
        self.transform = v2.Compose([resize, v2.RandomHorizontalFlip(0.5), v2.SanitizeBoundingBoxes()])

    def batch(self, rows: Sequence[int]) -> Tensor:
        """The images of these rows in one canvas, and their boxes on the way."""
        images = []
        for row in rows:
            with Image.open(self.files[row]) as file:
                picture: Any = file.convert("RGB")
            size = (picture.height, picture.width)
            if not self.pil:
                picture = tv_tensors.Image(v2.functional.pil_to_tensor(picture))
            begin, end = self.dataset.truth.start_I[row : row + 2]
            corners_N4 = torch.from_numpy(self.dataset.xyxy_A4[begin:end])
            target = {
                "boxes": tv_tensors.BoundingBoxes(corners_N4, format="XYXY", canvas_size=size),
                "labels": torch.from_numpy(self.dataset.truth.labels_A[begin:end]),
            }
            image, target = self.transform(picture, target)
            images.append(v2.functional.pil_to_tensor(image) if self.pil else image.as_subclass(Tensor))
        height, width = (-(-max(image.shape[side] for image in images) // 32) * 32 for side in (1, 2))
        canvas = torch.zeros(len(images), 3, height, width, dtype=torch.uint8)
        for own, image in zip(canvas, images, strict=True):
            own[:, : image.shape[1], : image.shape[2]] = image
        return canvas


def ours(dataset: CocoDataset, epoch: list[int]) -> Callable[[Sequence[int]], Tensor]:
    """Batches as the data workers make them; each call is another epoch."""

    def batch(rows: Sequence[int]) -> Tensor:
        epoch[0] += 1
        return collate([dataset[epoch[0], row] for row in rows]).images_B3HW

    return batch


@contextmanager
def pillow_alone() -> Any:
    """Without simplejpeg."""
    kept, decode.simplejpeg = decode.simplejpeg, None
    try:
        yield
    finally:
        decode.simplejpeg = kept


def measure(options: Options, root: Path) -> list[dict[str, Any]]:
    """One row per size and pipeline: images a second, and the ratio to the faster of torchvision's."""
    rows: list[dict[str, Any]] = []
    for name in options.sizes:
        short, long = SIZES[name]
        sets: dict[str, CocoDataset] = {}
        kinds: dict[str, dict[str, Any]] = {
            "": {},
            ", draft": {"draft": True},
            ", cache=ram": {"cache": "ram"},
        }
        for way, extra in kinds.items():
            file = root / "annotations" / "instances_train2017.json"
            sets[way] = CocoDataset(root / "train2017", file, train_transform(short, long), **extra)
        count = min(options.images, len(sets[""]))
        batches = [range(start, min(start + BATCH, count)) for start in range(0, count, BATCH)]

        def every(batch: Callable[[Sequence[int]], Tensor], own: Any = batches) -> Callable[[], object]:
            return lambda: [batch(rows) for rows in own]

        ways = {way: every(Theirs(sets[""], short, long, way.endswith("PIL")).batch) for way in THEIRS}
        ways |= {f"matchpoint{way}": every(ours(own, [0])) for way, own in sets.items()}
        plain = ways["matchpoint"]

        def without(call: Callable[[], object] = plain) -> None:
            with pillow_alone():
                call()

        if decode.simplejpeg is not None:
            ways["matchpoint, Pillow alone"] = without
        times = medians(ways, options.repeats)
        best = min(times[way] for way in THEIRS)
        rows += [
            {"size": name, "name": way, "images_per_second": count / seconds, "ratio": best / seconds}
            for way, seconds in times.items()
        ]
    return rows


def bench(options: Options) -> None:
    """Measures, prints the table and writes it."""
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        root = Path(options.root or folder)
        if options.root is None:
            draw(root, options.images)
        rows = measure(options, root)
    lines = [
        [row["size"], row["name"], f"{row['images_per_second']:.0f}", f"{row['ratio']:.2f}"] for row in rows
    ]
    what = "drawn photographs of 640x480 px" if options.root is None else "images of a data set"
    about = f"{options.images} {what}, one core. Median of {options.repeats} turns, {machine()}."
    ratios = {f"{row['name']}, {row['size']}": row["ratio"] for row in rows if row["name"] not in THEIRS}
    write({"rows": rows, "ratios": ratios}, f"{about}\n\n{table(HEADER, lines)}", options.out, "loading")


def main(words: Sequence[str] | None = None) -> None:
    """Times what the command line asks for."""
    run(Options, bench, __doc__, words)


if __name__ == "__main__":
    main()
