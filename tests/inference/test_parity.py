"""Exported files select the (point, class) pairs of their checkpoint.

`tests.helpers.parity` compares more images, of any run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from detector.decode import decode
from detector.trained import load
from errors import UsageError
from evaluation.coco_metrics import evaluate
from evaluation.truth import Truth
from export import Options, export
from inference.onnx_model import load_onnx
from tests.helpers.exported import batches, exported, trained
from tests.helpers.parity import Agreement, canvases, compare, onnx_graph, rows_of, torch_graph

FORMS = {"onnx": onnx_graph, "torch": torch_graph}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["fcos", "picodet"])
def test_the_same_pairs_of_point_and_class(kind: str, form: str) -> None:
    # Three sizes, other than the traced one, and batches of one and of three.
    one = exported(kind, "topk", form)
    graph, done = FORMS[form](one.file), Agreement()
    for images_B3HW in batches(1):
        compare(one.network, one.record, graph, images_B3HW, done)
    assert done.images == 12
    assert done.pairs > 300
    assert done.at_the_border < 5


def test_a_comparison_notices_what_differs() -> None:
    one = exported("fcos", "topk")
    graph, images_B3HW = onnx_graph(one.file), batches(1)[0]
    boxes, scores, labels = graph(images_B3HW)
    for changed in ((boxes + 0.5, scores, labels), (boxes, scores + 1e-3, labels)):
        with pytest.raises(AssertionError, match="no point has the box"):
            compare(one.network, one.record, lambda _, changed=changed: changed, images_B3HW, Agreement())
    scores = np.where(scores == scores.max(), 0, scores)
    with pytest.raises(AssertionError):
        compare(one.network, one.record, lambda _: (boxes, scores, labels), images_B3HW, Agreement())


def test_canvases_are_of_three_sizes_and_both_batches(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (90, 60)).save(tmp_path / "one.png")
    made = list(canvases([tmp_path / "one.png"], 12))
    assert sum(map(len, made)) == 12
    assert len({images.shape for images in made}) == 6


@pytest.mark.parametrize("kind", ["fcos", "picodet"])
def test_ap_of_file_and_checkpoint_agree(kind: str) -> None:
    # The truth is what the checkpoint finds with NMS, so that random weights have an AP.
    one = exported(kind, "topk")
    images = [image for batch in batches(2) for image in batch.transpose(0, 2, 3, 1)]
    own, file = load(one.checkpoint, "cpu"), load_onnx(one.file)
    boxes = [row for i, found in enumerate(own.predict(images, 0.3, "nms"), 1) for row in found.coco(i)]
    truth = Truth({
        "images": [{"id": i, "height": image.shape[0], "width": image.shape[1]}
                   for i, image in enumerate(images, 1)],
        "annotations": [{"id": i, "area": row["bbox"][2] * row["bbox"][3], "iscrowd": 0, **row}
                        for i, row in enumerate(boxes, 1)],
        "categories": [{"id": i, "name": name}
                       for i, name in zip(one.record.category_ids, one.record.classes, strict=True)],
    })  # fmt: skip
    ap = []
    for model in (own, file):
        rows = [
            row for i, found in enumerate(model.predict(images, select="topk"), 1) for row in found.coco(i)
        ]
        ap.append(evaluate(truth, rows_of(rows))["AP"])
    assert ap[0] > 10
    assert abs(ap[0] - ap[1]) <= 0.05


def test_a_torch_program_of_all_points_needs_torch_alone(tmp_path: Path) -> None:
    one = exported("picodet", "raw", "torch")
    images_B3HW = batches(1)[5]
    np.save(tmp_path / "images.npy", images_B3HW)
    code = (
        "import sys, numpy, torch; extra = {'record.json': ''}\n"
        "program = torch.export.load(sys.argv[1], extra_files=extra)\n"
        "found = program.module()(torch.from_numpy(numpy.load('images.npy')))\n"
        "numpy.savez('found.npz', *(one.detach().numpy() for one in found)); print(extra['record.json'])"
    )
    line = [sys.executable, "-c", code, str(one.file)]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(one.record.json())
    with torch.no_grad():
        expected = decode(one.network(torch.from_numpy(images_B3HW)))
    boxes_BP4, scores_BPC = np.load(tmp_path / "found.npz").values()
    assert np.abs(boxes_BP4 - expected.boxes_BP4.numpy()).max() < 0.01
    assert np.abs(scores_BPC - expected.scores_BPC.numpy()).max() < 1e-5


def test_a_torch_program_names_sides_that_it_does_not_take() -> None:
    graph = torch_graph(exported("picodet", "topk", "torch").file)
    with pytest.raises(AssertionError, match=r"size\(\)\[2\] >= 64"):
        graph(np.zeros((1, 3, 32, 256), np.uint8))


def test_a_torch_program_has_no_nms(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"format=torch has no cut=nms"):
        export(Options(str(trained("picodet")[0]), str(tmp_path / "a.pt2"), "torch", "nms"))
    assert not list(tmp_path.iterdir())
