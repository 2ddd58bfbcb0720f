"""Shape legend: B images, P points, C classes."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor, nn

from assigners.core.types import PointGrid
from data.augment.transforms import eval_transform
from data.coco.dataset import CocoDataset
from data.loader import collate, eval_loader
from data.sample import Sample
from detector.detector import Outputs
from engine.evaluator import Evaluation, Evaluator
from engine.setup import build_model
from evaluation import coco_metrics
from evaluation.coco_backends import Accumulated, accumulate
from evaluation.truth import Truth
from tests.helpers.tiny_run import TINY_MODEL

OPTIONS = {"score_threshold": 0.05, "candidates": 100, "limit": 10, "nms_iou": 0.6, "backend": "auto"}
CPU = torch.device("cpu")


class Scripted(nn.Module):
    """Says `found`[image] = [(xyxy, label, score), ...] of the images in turn, one detection per point."""

    def __init__(self, found: Sequence[Sequence[tuple[Sequence[float], int, float]]], classes: int) -> None:
        super().__init__()
        self.found, self.classes, self.next, self.forwards = list(found), classes, 0, 0
        self.modes: list[bool] = []

    predictors, inference = ("head",), "head"

    def outputs(self, images_B3HW: Tensor) -> dict[str, Outputs]:
        return {"head": self(images_B3HW)}

    def forward(self, images_B3HW: Tensor) -> Outputs:
        self.forwards += 1
        self.modes.append(self.training)
        count, _, height, width = images_B3HW.shape
        grid = PointGrid.for_image(height, width, (8,))
        logits_BPC = torch.full((count, len(grid), self.classes), -20.0)
        distances_BP4 = torch.ones(count, len(grid), 4)
        for image in range(count):
            for point, (box, label, score) in enumerate(self.found[self.next]):
                x, y = grid.centers_P2[point].tolist()
                logits_BPC[image, point, label] = torch.tensor(score).logit()
                distances_BP4[image, point] = torch.tensor([x - box[0], y - box[1], box[2] - x, box[3] - y])
            self.next += 1
        return Outputs(grid, logits_BPC, distances_BP4, None)


class OneImage:
    """A data set of one 300x120 image that is shown at 100x40, with one truth and a category id of 7."""

    class_names = ("cat", "dog")
    category_ids = (3, 7)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: object) -> Sample:
        image = torch.zeros(3, 40, 100, dtype=torch.uint8)
        return Sample(image, torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), 55, (120, 300))

    def coco_json(self) -> dict[str, Any]:
        box = {"bbox": [30, 30, 60, 60], "area": 3600}
        truth = {"id": 1, "image_id": 55, "category_id": 7, "iscrowd": 0, **box}
        return {
            "images": [{"id": 55, "file_name": "a", "height": 120, "width": 300}],
            "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}],
            "annotations": [truth],
        }


def evaluated(*found: tuple[Sequence[float], int, float]) -> tuple[Scripted, Evaluation]:
    model, dataset = Scripted([found], 2), OneImage()
    return model, Evaluator(dataset, [collate([dataset[0]])], OPTIONS, CPU)(model)


def test_boxes_come_back_to_the_pixels_of_the_file() -> None:
    _, evaluation = evaluated(([10, 10, 30, 30], 1, 0.9))
    expected = torch.tensor([[55, 30, 30, 60, 60, 0.9, 7]], dtype=torch.float64)
    for selection in ("nms", "nms_free"):
        torch.testing.assert_close(torch.from_numpy(evaluation.rows[selection]), expected, rtol=0, atol=1e-4)
    assert evaluation.summary["nms"]["AP"] == 100.0


def test_each_axis_has_its_own_scale_and_boxes_are_clipped_to_the_image() -> None:
    model = Scripted([[([-20, -5, 90, 60], 0, 0.5)]], 2)
    dataset = OneImage()
    batch = collate([dataset[0]])
    # 40 rows stand for 121 in the file, 100 columns for 300
    batch = dataclasses.replace(batch, original_B2=torch.tensor([[121, 300]]))
    row = Evaluator(dataset, [batch], OPTIONS, CPU)(model).rows["nms"][0]
    assert row[1:5].tolist() == pytest.approx([0, 0, 270, 121])  # to the image, not to its 64x128 canvas
    assert row[6] == 3


def test_both_selections_come_from_one_forward_pass() -> None:
    twice = (([10, 10, 30, 30], 1, 0.9), ([10, 10, 30, 29], 1, 0.8))
    model, evaluation = evaluated(*twice)
    assert model.forwards == 1
    assert len(evaluation.rows["nms"]) == 1
    assert len(evaluation.rows["nms_free"]) == 2
    summary = evaluation.summary
    assert (summary["nms"]["duplicate_rate"], summary["nms_free"]["duplicate_rate"]) == (0.0, 1.0)
    assert (summary["images"], summary["unreadable"]) == (1, 0)


def test_the_gap_is_ap_with_nms_minus_without() -> None:
    _, evaluation = evaluated(
        ([10, 10, 30, 22], 1, 0.99), ([10, 10, 30, 23], 1, 0.98), ([10, 10, 30, 30], 1, 0.4)
    )  # fmt: skip
    summary = evaluation.summary
    assert summary["gap"] == pytest.approx(summary["nms"]["AP"] - summary["nms_free"]["AP"])
    assert summary["gap"] > 0


def test_the_backend_is_the_one_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def accumulated(truth: Truth, rows_D7: np.ndarray, backend: str, *rest: Any, **more: Any) -> Accumulated:
        asked.append(backend)
        return accumulate(truth, rows_D7)

    def of_images(truth: Truth, rows_D7: np.ndarray, images: list[int], backend: str) -> float:
        asked.append(backend)
        return 0.0

    monkeypatch.setattr(coco_metrics, "accumulate", accumulated)
    monkeypatch.setattr(coco_metrics, "ap_of_images", of_images)
    dataset = OneImage()
    for options in (OPTIONS, {**OPTIONS, "backend": "faster"}):
        Evaluator(dataset, [collate([dataset[0]])], options, CPU)(Scripted([[]], 2))
    assert asked == ["auto"] * 4 + ["faster"] * 4


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_evaluated_in_eval_mode_and_given_back_as_it_was(training: bool) -> None:
    dataset, model = OneImage(), Scripted([[]], 2)
    model.train(training)
    Evaluator(dataset, [collate([dataset[0]])], OPTIONS, CPU)(model)
    assert model.modes == [False]
    assert model.training is training


def test_a_model_that_finds_nothing_has_an_ap_of_zero() -> None:
    _, evaluation = evaluated()
    assert evaluation.summary["nms_free"]["AP"] == 0.0
    assert evaluation.rows["nms"].shape == (0, 7)


@pytest.mark.parametrize(
    ("objects", "limit", "warned"), [(120, 100, True), (120, 300, False), (90, 9, False)]
)
def test_a_limit_below_the_objects_of_an_image_is_told(
    objects: int, limit: int, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    class Crowded(OneImage):
        def coco_json(self) -> dict[str, Any]:
            content = super().coco_json()
            (truth,) = content["annotations"]
            return content | {"annotations": [truth | {"id": n + 1} for n in range(objects)]}

    Evaluator(Crowded(), [], OPTIONS | {"limit": limit}, CPU)
    assert ("an image holds 120 objects, but eval.limit=100" in caplog.text) == warned


def test_unreadable_images_are_counted_and_the_others_go_on() -> None:
    dataset = OneImage()
    batch = collate([dataset[0]])
    batch.problems.append("a.jpg: broken")
    assert Evaluator(dataset, [batch], OPTIONS, CPU)(Scripted([[]], 2)).summary["unreadable"] == 1


def test_files_are_what_pycocotools_reads(tiny_coco: Path, tmp_path: Path) -> None:
    annotations = tiny_coco / "annotations" / "instances_val2017.json"
    dataset = CocoDataset(tiny_coco / "val2017", annotations)
    loader, samples = eval_loader(dataset, 3, 0), {sample.image_id: sample for sample in dataset}
    shown = [samples[image] for batch in loader for image in batch.image_id_B.tolist()]
    found = [
        [(box, label, 0.8) for box, label in zip(s.boxes_N4.tolist(), s.labels_N.tolist(), strict=True)]
        for s in shown
    ]
    calls: list[int] = []
    evaluator = Evaluator(dataset, loader, OPTIONS, CPU)
    evaluation = evaluator(Scripted(found, 3), lambda: calls.append(1))
    assert len(calls) == len(loader)
    assert evaluation.summary["nms_free"]["AP"] == 100.0
    out = tmp_path / "out"
    out.mkdir()
    evaluation.write(out, epoch=3, name="one")
    stored = json.loads((out / "eval.json").read_text())
    assert (stored["epoch"], stored["name"]) == (3, "one")
    assert stored["nms"]["AP"] == 100.0
    for name in ("predictions.json", "predictions_nms.json"):
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO(str(annotations))
            truth.dataset.setdefault("info", {})
            evaluation_of_file = COCOeval(truth, truth.loadRes(str(out / name)), "bbox")
            evaluation_of_file.evaluate()
            evaluation_of_file.accumulate()
            evaluation_of_file.summarize()
        assert evaluation_of_file.stats[0] == pytest.approx(1.0)


def test_detections_depend_neither_on_the_batch_nor_on_the_order(tiny_coco: Path, composed: Any) -> None:
    """Images of several sizes and orientations in a network with GroupNorm, whose statistics see padding."""
    annotations = tiny_coco / "annotations" / "instances_train2017.json"
    content = json.loads(annotations.read_text())
    for row in (2, 5):
        image = content["images"][row]
        image["height"], image["width"] = image["width"], image["height"]
        path = tiny_coco / "train2017" / image["file_name"]
        with Image.open(path) as picture:
            picture.transpose(Image.Transpose.ROTATE_90).save(path)
    torch.manual_seed(0)
    model = build_model(composed(*TINY_MODEL, "model.backbone.weights=null"), 3)
    results = []
    for reverse, batch_size in ((False, 1), (False, 3), (False, 16), (True, 3)):
        content["images"].sort(key=lambda image: image["id"], reverse=reverse)
        annotations.write_text(json.dumps(content))
        dataset = CocoDataset(tiny_coco / "train2017", annotations, eval_transform(96, 160))
        options = OPTIONS | {"score_threshold": 0.0, "limit": 20}
        rows = Evaluator(dataset, eval_loader(dataset, batch_size, 0), options, CPU)(model).rows
        ids = [image["id"] for image in content["images"]]
        assert list(dict.fromkeys(rows["nms"][:, 0].tolist())) == ids
        results.append({name: own[np.argsort(own[:, 0], kind="stable")] for name, own in rows.items()})
    for other in results[1:]:
        for name, expected in results[0].items():
            np.testing.assert_allclose(other[name], expected, rtol=0, atol=1e-3)
