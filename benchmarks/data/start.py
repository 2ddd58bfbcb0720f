"""What a start waits for: annotations of COCO train2017's size, their cache file, and the check of headers.

    python -m benchmarks.data.start            # 118,287 images, 860,001 boxes with polygons, some 420 MB
    python -m benchmarks.data.start images=50 boxes=400 repeats=1

Each row is a process of its own, with its own peak of memory. Beside ours stands json.loads alone.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.core.process import output_of
from benchmarks.core.turns import machine, table, write
from command_line import option, run

HEADER = ("", "seconds", "peak, MB", "afterwards, MB")
# Each is run as: python -c (BEFORE + way + AFTER) FILE FOLDER; memory is that above what the imports take.
WAYS = {
    "json.loads alone": "import json; made = json.loads(file.read_bytes())",
    "annotations": "from data.coco.read import read_annotations; made = read_annotations(file)",
    "annotations, from the cache": (
        "from data.coco.cached import annotations_of; made = annotations_of(file, folder)"
    ),
    "headers of 2,000 images": (
        "from data.coco.cached import annotations_of; from data.coco.files import check_files;"
        "truth = annotations_of(file, folder); begin(); made = check_files(folder / 'images', truth)"
    ),
}
BEFORE = """
import re, resource, sys, time, json, pathlib
import numpy, msgspec, PIL.Image
import data.coco.read, data.coco.cached, data.coco.files
file, folder = map(pathlib.Path, sys.argv[1:3])
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 1e6
def begin():
    global start, before
    start, before = time.perf_counter(), resident()
begin()
"""
AFTER = """
seconds = time.perf_counter() - start
peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024 / 1e6
print(json.dumps([seconds, peak - before, resident() - before]))
"""


@dataclass
class Options:
    """What the command line can set."""

    images: int = option(118_287, least=2, help="of the set")
    boxes: int = option(860_001, least=1, help="of the set, with polygons")
    repeats: int = option(3, least=1, help="turns")
    out: str = option("benchmarks/results/data", help="folder of start.json and start.md")


def draw(options: Options, folder: Path) -> Path:
    """A COCO-format file with the fields of COCO's own, and the images that it names, all of one content."""
    rng = np.random.default_rng(0)
    ids = rng.permutation(5 * options.images)[: options.images] + 1
    (folder / "images").mkdir()
    for row, number in enumerate(ids.tolist()):
        file_of = folder / "images" / f"{number:012d}.jpg"
        if row % 10_000 == 0:  # a file system limits the links to one file
            first = file_of
            Image.new("RGB", (640, 480)).save(first)
        else:
            os.link(first, file_of)
    image = (
        '{"license": 3, "file_name": "%012d.jpg", "coco_url": "http://example.org/%012d.jpg", "height": 480,'
        ' "width": 640, "date_captured": "2013-11-14 17:02:52", "flickr_url": "http://example.org/%d",'
        ' "id": %d}'
    )
    path = folder / "annotations.json"
    with path.open("w") as file:
        file.write('{"info": {}, "licenses": [], "images": [')
        file.write(", ".join(image % (number, number, number, number) for number in ids.tolist()))
        file.write('], "annotations": [')
        image_A = rng.choice(ids, options.boxes).tolist()
        for row, (number, points) in enumerate(
            zip(image_A, rng.integers(12, 36, options.boxes), strict=True)
        ):
            polygon = np.round(rng.random(2 * points) * 470, 2).tolist()
            x, y, w, h = np.round(rng.random(4) * 200 + 1, 2).tolist()
            entry = {
                "segmentation": [polygon], "area": round(0.6 * w * h, 4), "iscrowd": int(row % 85 == 0),
                "image_id": number, "bbox": [x, y, w, h], "category_id": row % 80 + 1, "id": row + 1,
            }  # fmt: skip
            file.write((", " if row else "") + json.dumps(entry))
        names = [{"supercategory": f"group {n % 12}", "id": n, "name": f"class {n}"} for n in range(1, 81)]
        file.write(f'], "categories": {json.dumps(names)}}}')
    return path


def measure(options: Options, folder: Path) -> list[dict[str, Any]]:
    """One row per way: the median of its seconds and of its memory."""
    file = draw(options, folder)
    output_of([sys.executable, "-c", BEFORE + WAYS["annotations, from the cache"], str(file), str(folder)])
    found: dict[str, list[list[float]]] = {name: [] for name in WAYS}
    for _ in range(options.repeats):
        for name, way in WAYS.items():
            line = [sys.executable, "-c", f"{BEFORE}\n{way}\n{AFTER}", str(file), str(folder)]
            found[name].append(json.loads(output_of(line)))
    columns = ("seconds", "peak_megabytes", "kept_megabytes")
    return [
        {"name": name, **dict(zip(columns, map(median, zip(*own, strict=True)), strict=True))}
        for name, own in found.items()
    ]


def bench(options: Options) -> None:
    """Measures, prints the table and writes it."""
    with TemporaryDirectory() as folder:
        rows = measure(options, Path(folder))
        size = (Path(folder) / "annotations.json").stat().st_size
    lines = [
        [row["name"], f"{row['seconds']:.2f}", f"{row['peak_megabytes']:.0f}", f"{row['kept_megabytes']:.0f}"]
        for row in rows
    ]
    about = (
        f"{options.images:,} images, {options.boxes:,} boxes with polygons, {size / 1e6:.0f} MB. "
        f"Median of {options.repeats} turns, memory above that of the imports. {machine()}."
    )
    seconds = {row["name"]: row["seconds"] for row in rows}
    ratios = {
        f"json.loads / {name}": seconds["json.loads alone"] / seconds[name]
        for name in seconds
        if "annot" in name
    }
    write({"rows": rows, "ratios": ratios}, f"{about}\n\n{table(HEADER, lines)}", options.out, "start")


def main(words: Sequence[str] | None = None) -> None:
    """Times what the command line asks for."""
    run(Options, bench, __doc__, words)


if __name__ == "__main__":
    main()
