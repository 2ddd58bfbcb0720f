"""From a detector and a data set to two APs: with NMS and without, from one forward pass.

Shape legend: B images, N detections of one image, D detections of a batch or of the data set, rows as in
evaluation.overlaps.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
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
from detector.select import Detections, best_candidates, suppress
from engine import distributed
from engine.run.directory import write_bytes, write_text
from evaluation.coco_backends import LIMITS
from evaluation.coco_metrics import evaluate
from evaluation.results import SELECTIONS, encode, predictions_file
from evaluation.truth import Floats, Truth

log = logging.getLogger(__name__)


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
    rows: dict[str, Floats]
    others: dict[str, dict[str, Floats]] = field(default_factory=dict)

    def write(self, directory: Path, **facts: Any) -> None:
        """eval.json with `facts` in front, and the detections, by the names of `evaluation.results`."""
        for predictor, rows in [(None, self.rows), *self.others.items()]:
            for selection, rows_D7 in rows.items():
                write_bytes(directory / predictions_file(selection, predictor), encode(rows_D7))
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
        self._truth = Truth(dataset.coco_json())
        self._place = {image["id"]: place for place, image in enumerate(self._truth.dataset["images"])}
        most = max(self._truth.objects_of.values(), default=0)
        if most > max(LIMITS[-1], options["limit"]):
            log.warning(
                "an image holds %d objects, but eval.limit=%d detections of one are kept; eval.limit=300 "
                "keeps more, and AP_300 counts them", most, options["limit"],
            )  # fmt: skip
        self._backend = options["backend"]
        self._candidates = {key: options[key] for key in ("score_threshold", "candidates")}
        self._limit, self._nms_iou = options["limit"], options["nms_iou"]

    def __call__(
        self,
        model: Detector,
        progress: Callable[[], None] = lambda: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Evaluation:
        """Runs the model over the data set; `progress` is called after each batch, `stop` before each.

        With several ranks this is collective: each detects in its own batches, rank 0 computes the AP of all,
        and the result is the same on every rank.

        Raises:
            KeyboardInterrupt: if `stop` says so on some rank, which leaves out the rest of its batches.
        """
        start, unreadable = time.perf_counter(), 0
        found: dict[str, dict[str, list[Floats]]] = {
            name: {selection: [] for selection in SELECTIONS} for name in model.predictors
        }
        was_training = model.training
        model.eval()
        stopped = False
        for batch in self._loader:
            if stopped := stop():
                break
            for problem in batch.problems:
                log.warning("counted as an image without detections: %s", problem)
            unreadable += len(batch.problems)
            for (name, selection), rows_D7 in self._rows(batch, self._detect(model, batch)).items():
                found[name][selection].append(rows_D7)
            progress()
        model.train(was_training)
        if any(distributed.any_rank(stopped or stop())):
            distributed.end(KeyboardInterrupt())
        rows = {
            name: {selection: self._in_order(distributed.gather(parts)) for selection, parts in own.items()}
            for name, own in found.items()
        }
        unreadable = sum(distributed.gather(unreadable))
        inference = time.perf_counter() - start
        results = distributed.on_main(
            lambda: {name: summarize(self._truth, own, self._backend) for name, own in rows.items()}
        )
        summary = {"predictor": model.inference, **results.pop(model.inference), "others": results}
        summary |= {
            "images": len(self._dataset),
            "unreadable": unreadable,
            "inference_seconds": round(inference, 2),
            "seconds": round(time.perf_counter() - start, 2),
        }
        return Evaluation(summary, rows.pop(model.inference), rows)

    @torch.inference_mode()
    def _detect(self, model: Detector, batch: Batch) -> dict[tuple[str, str], list[Detections]]:
        """The detections of each predictor and selection."""
        images = batch.images_B3HW.to(self._device, non_blocking=True)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
            outputs = model.outputs(images)
        return {
            (name, selection): found
            for name, own in outputs.items()
            for selection, found in self._select(decode(own), own.grid, batch.size_B2).items()
        }

    def _select(self, predictions: Decoded, grid: PointGrid, size_B2: Tensor) -> dict[str, list[Detections]]:
        """Both selections; a peak window acts on the one without NMS alone."""
        every = best_candidates(predictions, grid, **self._candidates, size_B2=size_B2)
        peaks = every
        if predictions.peak_window is not None:
            peaks = best_candidates(predictions, grid, **self._candidates, size_B2=size_B2, peaks=True)
        return {
            "nms": [suppress(detections, self._nms_iou)[: self._limit] for detections in every],
            "nms_free": [detections[: self._limit] for detections in peaks],
        }

    def _rows(
        self, batch: Batch, found: dict[tuple[str, str], list[Detections]]
    ) -> dict[tuple[str, str], Floats]:
        """The same as rows: pixels of the original images, clipped to them."""
        images = [image for detections in found.values() for image in detections]
        columns = (
            torch.cat([image.boxes_N4 for image in images]),
            torch.cat([image.scores_N for image in images])[:, None],
            torch.cat([image.labels_N for image in images])[:, None].float(),  # exact up to 2^24 classes
        )
        # One copy to the host for all of them: each copy waits for the device.
        found_D6 = torch.cat(columns, dim=1).cpu().double().numpy()
        counts = np.array([len(image) for image in images])
        place_D = np.repeat(np.tile(np.arange(len(batch.image_id_B)), len(found)), counts)
        # Each axis has its own scale; sizes are height, width.
        limit_B2, size_B2 = (
            size.numpy()[:, ::-1].astype(np.float64) for size in (batch.original_B2, batch.size_B2)
        )
        limit_D4, scale_D4 = (np.tile(values_B2[place_D], 2) for values_B2 in (limit_B2, limit_B2 / size_B2))
        boxes_D4 = np.clip(found_D6[:, :4] * scale_D4, 0, limit_D4)
        rows_D7 = np.empty((len(found_D6), 7))
        rows_D7[:, 0] = batch.image_id_B.numpy()[place_D]
        rows_D7[:, 1:3] = boxes_D4[:, :2]
        rows_D7[:, 3:5] = boxes_D4[:, 2:] - boxes_D4[:, :2]
        rows_D7[:, 5] = found_D6[:, 4]
        category_C = np.array(self._dataset.category_ids, dtype=np.float64)
        rows_D7[:, 6] = category_C[found_D6[:, 5].astype(np.int64)]
        sizes = [sum(map(len, detections)) for detections in found.values()]
        return dict(zip(found, np.split(rows_D7, np.cumsum(sizes)[:-1]), strict=True))

    def _in_order(self, shares: list[list[Floats]]) -> Floats:
        """The rows of all ranks in the order of the data set, whatever batches the images were in."""
        rows_D7 = np.concatenate([np.zeros((0, 7)), *chain.from_iterable(shares)])
        places = [self._place[image] for image in rows_D7[:, 0].astype(np.int64).tolist()]
        return rows_D7[np.argsort(places, kind="stable")]


def summarize(truth: Truth, rows: Mapping[str, Floats], backend: str) -> dict[str, Any]:
    """The numbers of each selection (`coco_metrics.evaluate`), and "gap": AP with NMS minus AP without."""
    summary: dict[str, Any] = {name: evaluate(truth, rows[name], backend) for name in SELECTIONS}
    with_nms, without = summary["nms"]["AP"], summary["nms_free"]["AP"]
    summary["gap"] = None if with_nms is None else round(with_nms - without, 4)
    return summary
