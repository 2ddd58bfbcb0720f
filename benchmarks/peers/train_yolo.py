"""A detector of ultralytics trained on a COCO-format set, both of its branches as a row of tools.compare:

    python -m benchmarks.peers.train_yolo root=DIR data=raccoon epochs=43 out=peers
    python -m tools.compare runs/raccoon-* peers/yolo26n-raccoon-seed0.json

From random weights, with the defaults of ultralytics but for what the options name. `nms` holds the
detections of the one-to-many branch with NMS, `nms_free` those of the one-to-one branch without. ultralytics
(AGPL) is imported for measurement only.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.row import RowOptions, Validation, annotations_of, validation, write_row
from command_line import option, run
from data.coco.read import read_annotations
from errors import UsageError


@dataclass
class Options(RowOptions):
    """What the command line can set."""

    network: str = option("yolo26n", choices=("yolo26n", "yolov10n"), help="the network")
    size: int = option(320, least=32, help="px of the longer side, in training and evaluation")
    batch: int = option(8, least=1, help="images of a batch")
    nominal: int = option(8, least=1, help="images per optimizer step (nbs; the default of ultralytics: 64)")
    limit: int = option(100, least=1, help="detections per image")


def yolo_layout(root: Path, into: Path) -> Path:
    """Writes the set in ultralytics' layout: links to the images, one text file of boxes for each.

    Returns:
        The YAML file that names its parts and classes.
    """
    for part in ("train", "val"):
        coco = read_annotations(annotations_of(root, part)).to_json()
        row_of = {category["id"]: row for row, category in enumerate(coco["categories"])}
        lines: dict[int, list[str]] = {image["id"]: [] for image in coco["images"]}
        sizes = {image["id"]: (image["width"], image["height"]) for image in coco["images"]}
        for one in coco["annotations"]:
            if one["iscrowd"]:
                continue
            (x, y, w, h), (width, height) = one["bbox"], sizes[one["image_id"]]
            numbers = ((x + w / 2) / width, (y + h / 2) / height, w / width, h / height)
            row = row_of[one["category_id"]]
            lines[one["image_id"]].append(f"{row} " + " ".join(f"{number:.6f}" for number in numbers))
        for image in coco["images"]:
            name = Path(image["file_name"])
            link, label = into / "images" / part / name, into / "labels" / part / name.with_suffix(".txt")
            link.parent.mkdir(parents=True, exist_ok=True)
            label.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to((root / f"{part}2017" / name).resolve())
            label.write_text("\n".join(lines[image["id"]]))
    names = [f"  {row}: {category['name']!r}" for row, category in enumerate(coco["categories"])]
    file = into / "data.yaml"
    head = [f"path: {into}", "train: images/train", "val: images/val", "names:"]
    file.write_text("\n".join(head + names) + "\n")
    return file


def detections(model: Any, options: Options, truth: Validation, one_to_one: bool) -> list[dict[str, Any]]:
    """COCO results of the validation images from one of both branches."""
    results: list[dict[str, Any]] = []
    words = {"imgsz": options.size, "conf": 0.001, "max_det": options.limit, "device": "cpu"}
    for image_id, file in truth.files.items():
        (found,) = model.predict(str(file), nms=not one_to_one, verbose=False, **words)
        boxes = found.boxes
        for box, score, row in zip(
            boxes.xyxy.tolist(), boxes.conf.tolist(), boxes.cls.int().tolist(), strict=True
        ):
            results.append(truth.result(image_id, row, box, score))
    return results


def train(options: Options) -> Path:
    """Trains, detects with both branches and writes the row.

    Raises:
        UsageError: if ultralytics is not installed, or annotations cannot be read.
    """
    truth = validation(Path(options.root))
    try:
        from ultralytics import YOLO

        import benchmarks.peers.from_ultralytics  # noqa: F401  # says where ultralytics writes its settings
    except ImportError as error:
        raise UsageError(f"ultralytics cannot be imported ({error}): pip install ultralytics") from error
    with tempfile.TemporaryDirectory() as folder:
        data = yolo_layout(Path(options.root), Path(folder))
        model = YOLO(f"{options.network}.yaml")
        model.train(
            data=str(data), epochs=options.epochs, imgsz=options.size, batch=options.batch,
            nbs=options.nominal, seed=options.seed, device="cpu", pretrained=False, amp=False, plots=False,
            val=False, workers=1, project=folder, name="run",
        )  # fmt: skip
        trained = Path(folder, "run", "weights", "last.pt")
        results = {
            selection: detections(YOLO(trained), options, truth, one_to_one=selection == "nms_free")
            for selection in ("nms", "nms_free")
        }
    return write_row(options.network, options.data, options.seed, results, truth, Path(options.out))


def main(words: Sequence[str] | None = None) -> None:
    """Trains what the command line names."""
    run(Options, lambda options: print(train(options)), __doc__, words)


if __name__ == "__main__":
    main()
