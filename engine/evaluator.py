"""From a detector and a data set to two APs: with NMS and without, from one forward pass.

Shape legend: B images, N detections of one image.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from assigners.core.types import PointGrid
from data.loader import Batch
from data.sample import DetectionDataset
from detector.decode import Decoded, decode
from detector.detector import Detector
from detector.peaks import keep_peaks
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
            (AP with NMS minus AP without), "predictor" (the name of the one that these numbers come from),
            "others" (the same numbers of each other predictor, by name), "images", "unreadable", "seconds".
        rows: the detections behind "nms" and "nms_free" of that predictor.
        others: the same of each other predictor.
    """

    summary: dict[str, Any]
    rows: dict[str, Rows]
    others: dict[str, dict[str, Rows]] = field(default_factory=dict)

    def write(self, directory: Path, **facts: Any) -> None:
        """eval.json with `facts` in front, predictions.json (NMS-free) and predictions_nms.json.

        Those of another predictor carry its name: predictions_many.json and predictions_many_nms.json.
        """
        for label, rows in {
            "": self.rows,
            **{f"_{name}": rows for name, rows in self.others.items()},
        }.items():
            for selection, suffix in (("nms_free", ""), ("nms", "_nms")):
                text = json.dumps(coco_results(rows[selection]))
                write_text(directory / f"predictions{label}{suffix}.json", text)
        write_text(directory / "eval.json", json.dumps({**facts, **self.summary}, indent=2) + "\n")


class Evaluator:
    """Evaluates detectors on one data set.

    Args:
        dataset: gives the ground truth and the category of each label.
        loader: the batches of that data set, each image once; with several ranks, those of this one.
        options: score_threshold, candidates, limit, nms_iou, and backend, else pycocotools.
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
        self._backend = options.get("backend", "pycocotools")  # runs of old have no such key
        self._candidates = {key: options[key] for key in ("score_threshold", "candidates")}
        self._limit, self._nms_iou = options["limit"], options["nms_iou"]

    def __call__(self, model: Detector, progress: Any = None) -> Evaluation:
        """Runs the model over the data set; `progress` is called after each batch.

        With several ranks this is collective: each detects in its own batches, rank 0 computes the AP of all,
        and the result is the same on every rank.
        """
        start, unreadable = time.perf_counter(), 0
        found: dict[str, dict[str, list[Rows]]] = {
            name: {selection: [] for selection in SELECTIONS} for name in model.predictors
        }
        was_training = model.training
        model.eval()
        for batch in self._loader:
            for problem in batch.problems:
                log.warning("counted as an image without detections: %s", problem)
            unreadable += len(batch.problems)
            for name, selections in self._detect(model, batch).items():
                for selection, detections in selections.items():
                    found[name][selection].append(self._rows(batch, detections))
            if progress is not None:
                progress()
        model.train(was_training)
        rows = {
            name: {selection: in_order(distributed.gather(parts)) for selection, parts in selections.items()}
            for name, selections in found.items()
        }
        unreadable = sum(distributed.gather(unreadable))
        inference = time.perf_counter() - start
        results = distributed.on_main(lambda: {name: self._summary(own) for name, own in rows.items()})
        summary = {"predictor": model.inference, **results.pop(model.inference), "others": results}
        summary |= {
            "images": len(self._dataset),
            "unreadable": unreadable,
            "inference_seconds": round(inference, 2),
            "seconds": round(time.perf_counter() - start, 2),
        }
        return Evaluation(summary, rows.pop(model.inference), rows)

    def _summary(self, rows: dict[str, Rows]) -> dict[str, Any]:
        summary: dict[str, Any] = {
            selection: evaluate(self._truth, rows[selection], self._backend) for selection in SELECTIONS
        }
        with_nms, without = summary["nms"]["AP"], summary["nms_free"]["AP"]
        summary["gap"] = None if with_nms is None else round(with_nms - without, 4)
        return summary

    @torch.inference_mode()
    def _detect(self, model: Detector, batch: Batch) -> dict[str, dict[str, list[Detections]]]:
        images = batch.to(self._device).images_B3HW
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
            outputs = model.outputs(images)
        return {name: self._select(decode(own), own.grid, batch.size_B2) for name, own in outputs.items()}

    def _select(self, predictions: Decoded, grid: PointGrid, size_B2: Tensor) -> dict[str, list[Detections]]:
        """Both selections; a peak window acts on the one without NMS alone."""
        every = best_candidates(predictions, grid, **self._candidates, size_B2=size_B2)
        peaks = every
        if predictions.peak_window is not None:
            peaks = best_candidates(keep_peaks(predictions, grid), grid, **self._candidates, size_B2=size_B2)
        return {
            "nms": [suppress(detections, self._nms_iou)[: self._limit] for detections in every],
            "nms_free": [detections[: self._limit] for detections in peaks],
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
