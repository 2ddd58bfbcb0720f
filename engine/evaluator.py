"""From a detector and a data set to two APs: with NMS and without, from one forward pass.

Shape legend: B images, N detections of one image.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from data.loader import Batch
from data.sample import DetectionDataset
from detector.decode import decode
from detector.select import Detections, best_candidates, suppress
from engine import distributed
from engine.run import write_text
from evaluation.coco_metrics import Rows, coco_results, evaluate, ground_truth

log = logging.getLogger(__name__)
SELECTIONS = ("nms", "nms_free")


@dataclass
class Evaluation:
    """Both results of one pass over a data set.

    Attributes:
        summary: what eval.json holds: for "nms" and "nms_free" the dict of `coco_metrics.evaluate`, "gap"
            (AP with NMS minus AP without), "images", "unreadable", "seconds".
        rows: the detections behind each.
    """

    summary: dict[str, Any]
    rows: dict[str, Rows]

    def write(self, directory: Path, **facts: Any) -> None:
        """eval.json with `facts` in front, predictions.json (NMS-free) and predictions_nms.json."""
        for selection, name in (("nms_free", "predictions.json"), ("nms", "predictions_nms.json")):
            write_text(directory / name, json.dumps(coco_results(self.rows[selection])))
        write_text(directory / "eval.json", json.dumps({**facts, **self.summary}, indent=2) + "\n")


class Evaluator:
    """Evaluates detectors on one data set.

    Args:
        dataset: gives the ground truth and the category of each label.
        loader: the batches of that data set, each image once; with several ranks, those of this one.
        options: score_threshold, candidates, limit, nms_iou, backend.
        bf16: run the network in bfloat16.
    """

    def __init__(
        self,
        dataset: DetectionDataset,
        loader: Iterable[Batch],
        options: Mapping[str, Any],
        device: torch.device,
        bf16: bool = False,
    ) -> None:
        self._dataset, self._loader, self._device, self._bf16 = dataset, loader, device, bf16
        self._truth = ground_truth(dataset.coco_json())
        self._backend = options["backend"]
        self._candidates = {key: options[key] for key in ("score_threshold", "candidates")}
        self._limit, self._nms_iou = options["limit"], options["nms_iou"]

    def __call__(self, model: nn.Module, progress: Any = None) -> Evaluation:
        """Runs the model over the data set; `progress` is called after each batch.

        With several ranks this is collective: each detects in its own batches, rank 0 computes the AP of all,
        and the result is the same on every rank.
        """
        start, unreadable = time.perf_counter(), 0
        rows: dict[str, list[Rows]] = {selection: [] for selection in SELECTIONS}
        was_training = model.training
        model.eval()
        for batch in self._loader:
            for problem in batch.problems:
                log.warning("counted as an image without detections: %s", problem)
            unreadable += len(batch.problems)
            for selection, found in self._detect(model, batch).items():
                rows[selection].append(self._rows(batch, found))
            if progress is not None:
                progress()
        model.train(was_training)
        all_rows = {selection: in_order(distributed.gather(parts)) for selection, parts in rows.items()}
        unreadable = sum(distributed.gather(unreadable))
        inference = time.perf_counter() - start
        summary = distributed.on_main(lambda: self._summary(all_rows))
        summary |= {
            "images": len(self._dataset),
            "unreadable": unreadable,
            "inference_seconds": round(inference, 2),
            "seconds": round(time.perf_counter() - start, 2),
        }
        return Evaluation(summary, all_rows)

    def _summary(self, rows: dict[str, Rows]) -> dict[str, Any]:
        summary: dict[str, Any] = {
            selection: evaluate(self._truth, rows[selection], self._backend) for selection in SELECTIONS
        }
        with_nms, without = summary["nms"]["AP"], summary["nms_free"]["AP"]
        summary["gap"] = None if with_nms is None else round(with_nms - without, 4)
        return summary

    @torch.inference_mode()
    def _detect(self, model: nn.Module, batch: Batch) -> dict[str, list[Detections]]:
        images = batch.to(self._device).images_B3HW
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
            outputs = model(images)
        found = best_candidates(decode(outputs), outputs.grid, **self._candidates, size_B2=batch.size_B2)
        return {
            "nms": [suppress(detections, self._nms_iou)[: self._limit] for detections in found],
            "nms_free": [detections[: self._limit] for detections in found],
        }

    def _rows(self, batch: Batch, found: list[Detections]) -> Rows:
        """Detections of a batch in pixels of the original images, clipped to them."""
        category = np.array(self._dataset.category_ids, dtype=np.float64)
        parts = [np.zeros((0, 7))]
        for detections, image_id, size, original in zip(
            found, batch.image_id_B.tolist(), batch.size_B2.tolist(), batch.original_B2.tolist(), strict=True
        ):
            boxes_N4 = detections.boxes_N4.double().cpu().numpy()
            limit = np.array([original[1], original[0]] * 2, dtype=np.float64)
            scale = limit / np.array([size[1], size[0]] * 2, dtype=np.float64)
            boxes_N4 = np.clip(boxes_N4 * scale, 0, limit)
            part = np.empty((len(detections), 7))
            part[:, 0] = image_id
            part[:, 1:3] = boxes_N4[:, :2]
            part[:, 3:5] = boxes_N4[:, 2:] - boxes_N4[:, :2]
            part[:, 5] = detections.scores_N.cpu().numpy()
            part[:, 6] = category[detections.labels_N.cpu().numpy()]
            parts.append(part)
        return np.concatenate(parts)


def in_order(shares: list[list[Rows]]) -> Rows:
    """The rows of all ranks in the order of the data set; batch b is batch b // ranks of rank b % ranks."""
    batches = chain.from_iterable(zip_longest(*shares))
    return np.concatenate([np.zeros((0, 7)), *(rows for rows in batches if rows is not None)])
