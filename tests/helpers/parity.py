"""Whether an exported file detects what its checkpoint detects, on any images:

    python -m tests.helpers.parity run=DIR source=DIR annotations=FILE images=100

Exports with cut=topk as ONNX and as a torch program and compares both with the network and `select.topk` on
canvases of three sizes, one and three images at a time; then the rows of predict.py, of the checkpoint and
of the exported file, with what eval.py left in the run.

Shape legend: B images, H and W of the canvas, P points, C classes, N detections of an image.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from command_line import option, run
from detector.decode import decode
from detector.detector import Detector
from detector.select import topk
from detector.trained import read_checkpoint
from evaluation.coco_metrics import evaluate
from evaluation.truth import Truth
from export import Options as ExportOptions
from export import export
from inference.detecting import Options as PredictOptions
from inference.pixels import read, resized
from inference.record import Record
from inference.sources import find
from predict import predict
from tests.helpers.same_rows import assert_same_rows

CANVASES = ((320, 416), (256, 256), (416, 320))
BATCHES = (1, 3)
SCORE = 1e-5
# A graph without this project: uint8 images (B, 3, H, W) to boxes (B, N, 4), scores (B, N), labels (B, N).
Graph = Callable[[np.ndarray], tuple[np.ndarray, ...]]


@dataclass
class Agreement:
    """What was compared, and the largest differences.

    Attributes:
        pairs: (point, class) that both select.
        at_the_border: that one selects alone, its score as good as equal to the last that is selected.
        share_of_tolerance: of boxes; the tolerance is 0.01 px or 1e-4 of the longer side.
    """

    images: int = 0
    pairs: int = 0
    at_the_border: int = 0
    share_of_tolerance: float = 0.0
    score: float = 0.0


def compare(network: Detector, record: Record, graph: Graph, images_B3HW: np.ndarray, to: Agreement) -> None:
    """Asserts that a graph and the network select the same pairs of point and class, with the same boxes.

    Pairs may differ whose scores lie within 1e-5 of the last that is selected.
    """
    options = record.selection
    with torch.no_grad():
        outputs = network(torch.from_numpy(images_B3HW))
    predictions = decode(outputs)
    expected = topk(predictions, outputs.grid, options.score, options.candidates, options.limit)
    size_4 = torch.tensor([images_B3HW.shape[3], images_B3HW.shape[2]] * 2)
    boxes_BP4 = torch.minimum(predictions.boxes_BP4.clamp(min=0), size_4).numpy()
    scores_BPC = predictions.scores_BPC.numpy()
    for row, (boxes_N4, scores_N, labels_N) in enumerate(zip(*graph(images_B3HW), strict=True)):
        kept = scores_N > options.score
        points = (boxes_BP4[row], scores_BPC[row])
        found = pairs_of(boxes_N4[kept], scores_N[kept], labels_N[kept], *points, to)
        one = expected[row]
        wanted = pairs_of(one.boxes_N4.numpy(), one.scores_N.numpy(), one.labels_N.numpy(), *points, to)
        last = float(one.scores_N[-1]) if len(one) == options.limit else options.score
        for point, label in found ^ wanted:
            assert abs(scores_BPC[row, point, label] - last) < SCORE, (row, point, label)
            to.at_the_border += 1
        to.images += 1
        to.pairs += len(found & wanted)


def pairs_of(
    boxes_N4: np.ndarray,
    scores_N: np.ndarray,
    labels_N: np.ndarray,
    boxes_P4: np.ndarray,
    scores_PC: np.ndarray,
    to: Agreement,
) -> set[tuple[int, int]]:
    """The (point, class) of each detection: the free point whose box and score are nearest to its own."""
    found: set[tuple[int, int]] = set()
    for box_4, score, label in zip(boxes_N4, scores_N, labels_N.tolist(), strict=True):
        allowed = max(0.01, 1e-4 * float((box_4[2:] - box_4[:2]).max()))
        box_P = np.abs(boxes_P4 - box_4).max(axis=1) / allowed
        score_P = np.abs(scores_PC[:, label] - score)
        free_P = [point for point in np.flatnonzero((box_P <= 1) & (score_P < SCORE)).tolist()
                  if (point, label) not in found]  # fmt: skip
        assert free_P, f"no point has the box {box_4} with the score {score} of class {label}"
        point = min(free_P, key=lambda point: box_P[point] + score_P[point] / SCORE)
        found.add((point, label))
        to.share_of_tolerance = max(to.share_of_tolerance, float(box_P[point]))
        to.score = max(to.score, float(score_P[point]))
    return found


def graphs(checkpoint: Path, folder: Path) -> dict[str, Graph]:
    """The exported files of a checkpoint, by format."""
    export(ExportOptions(str(checkpoint), str(folder / "model.onnx")))
    export(ExportOptions(str(checkpoint), str(folder / "model.pt2"), "torch"))
    return {"onnx": onnx_graph(folder / "model.onnx"), "torch": torch_graph(folder / "model.pt2")}


def onnx_graph(file: Path) -> Graph:
    """An ONNX file in ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return lambda images_B3HW: tuple(session.run(None, {"images": images_B3HW}))


def torch_graph(file: Path) -> Graph:
    """A torch.export program."""
    module = torch.export.load(file).module()

    def call(images_B3HW: np.ndarray) -> tuple[np.ndarray, ...]:
        with torch.no_grad():
            return tuple(output.numpy() for output in module(torch.from_numpy(images_B3HW)))

    return call


def canvases(files: Sequence[Path], images: int) -> Iterator[np.ndarray]:
    """So many images as network inputs of three sizes, one and three at a time; files may come again."""
    shapes, counts, files_again = cycle(CANVASES), cycle(BATCHES), cycle(files)
    while images > 0:
        # Sizes change after every second batch, so that each meets both batch sizes.
        height, width = next(shapes)
        for count in (next(counts), next(counts)):
            count = min(count, images)
            chosen = [resized(read(next(files_again)), height, width) for _ in range(count)]
            if count:
                yield np.ascontiguousarray(np.stack(chosen).transpose(0, 3, 1, 2))
            images -= count


def detections(checkpoint: Path, source: Path, annotations: Path, score: float) -> bytes:
    """The predictions.json of predict.py."""
    with tempfile.TemporaryDirectory() as folder:
        options = PredictOptions(str(checkpoint), str(source), folder, "topk", score)
        options.annotations, options.draw = str(annotations), False
        predict(options)
        return (Path(folder) / "predictions.json").read_bytes()


@dataclass
class Options:
    """What the command line can set."""

    run: str = option(help="directory of a finished run that was evaluated one image at a time")
    source: str = option(help="folder of its validation images")
    annotations: str = option(help="their COCO-format file")
    images: int = option(100, least=1, help="to compare")


def main(words: Sequence[str] | None = None) -> None:
    """Compares what the command line names."""
    run(Options, check, __doc__, words)


def check(options: Options) -> None:
    """Prints what was compared; an AssertionError names the first difference."""
    checkpoint, source, annotations = (
        Path(options.run) / "last.pt", Path(options.source), Path(options.annotations)
    )  # fmt: skip
    network, record = read_checkpoint(checkpoint)
    files = find(options.source)
    assert isinstance(files, list)
    with tempfile.TemporaryDirectory() as folder:
        for name, graph in graphs(checkpoint, Path(folder)).items():
            done = Agreement()
            for images_B3HW in canvases(files, options.images):
                compare(network.eval(), record, graph, images_B3HW, done)
            print(f"{name}: {done}")
        score = record.selection.score
        own, exported = (
            json.loads(detections(path, source, annotations, score))
            for path in (checkpoint, Path(folder) / "model.onnx")
        )
    evaluated = json.loads((Path(options.run) / "predictions.json").read_text())
    assert_same_rows(own, evaluated)
    print(f"predict.py: {len(own)} rows, those of eval.py")
    truth = Truth(json.loads(annotations.read_text()))
    ap = [evaluate(truth, rows_of(rows))["AP"] for rows in (evaluated, exported)]
    print(f"AP: eval.py {ap[0]:.4f}, exported file {ap[1]:.4f}")
    assert abs(ap[0] - ap[1]) <= 0.05


def rows_of(results: list[dict[str, Any]]) -> np.ndarray:
    """Rows of `evaluation.overlaps`: image, x, y, width, height, score, category."""
    return np.array([[one["image_id"], *one["bbox"], one["score"], one["category_id"]] for one in results])


if __name__ == "__main__":
    main()
