"""A detector that takes images of any size and gives boxes in their pixels.

Shape legend: B images of one canvas size, H and W the canvas, N detections of one image.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, overload

import numpy as np

from errors import UsageError
from inference.found import Found, to_original, unreadable
from inference.pixels import canvas, read
from inference.record import Record

SELECTIONS = ("topk", "nms")
# Of one image in pixels of the canvas, best first: boxes_N4 xyxy, scores_N, labels_N.
Raw = tuple[np.ndarray, np.ndarray, np.ndarray]
# (images_B3HW uint8, their sizes (B, 2) int64, selection, score threshold) -> one Raw per image.
Detect = Callable[[np.ndarray, np.ndarray, str, float], list[Raw]]


@dataclass(frozen=True)
class _Prepared:
    """An image ready for the network; size and original are (height, width) inside and before the canvas."""

    canvas_3HW: np.ndarray
    size: tuple[int, int]
    original: tuple[int, int]


class Predictor:
    """A network, its selection and the record of its preprocessing.

    Args:
        record: what the network was trained with.
        detect: runs it on a batch.
        selections: those that `detect` offers.
        source: what the network was read from, for messages.
        least_score: the lowest score threshold that `detect` can take.
    """

    def __init__(
        self,
        record: Record,
        detect: Detect,
        selections: tuple[str, ...] = SELECTIONS,
        source: str = "model",
        least_score: float = 0.0,
    ) -> None:
        self.record, self.detect, self.selections, self.source = record, detect, selections, source
        self.least_score = least_score

    @overload
    def predict(
        self, images: list[Any] | tuple[Any, ...], score: float | None = ..., select: str | None = ...
    ) -> list[Found]: ...

    @overload
    def predict(self, images: Any, score: float | None = ..., select: str | None = ...) -> Found: ...

    def predict(
        self, images: Any, score: float | None = None, select: str | None = None
    ) -> Found | list[Found]:
        """Detects in one image or in a list of them.

        Args:
            images: a path, a PIL image or an array (H, W, 3) of uint8 RGB, or a list of such.
            score: detections with a score above it; the record's threshold if None.
            select: "topk" (NMS-free) or "nms"; the record's default if None.

        Returns:
            One result for one image, a list for a list. In a list, an image that cannot be read gives an
            empty result whose `problem` says why, so that the others are not lost.

        Raises:
            UsageError: for a single image that cannot be read, or a selection that is not there.
        """
        if isinstance(images, list | tuple):
            return list(self.stream(images, score, select))
        found = next(self.stream([images], score, select))
        if found.problem is not None:
            raise UsageError(found.problem)
        return found

    def stream(
        self,
        images: Iterable[Any],
        score: float | None = None,
        select: str | None = None,
        batch: int = 8,
        upright: bool = True,
    ) -> Iterator[Found]:
        """The result of each image, in order, while at most `batch` images are held; see `predict`.

        Images of one canvas size share a run of the network. The canvas of an image depends on its own size
        only, so its neighbours do not change its result.
        """
        select, score = self.checked(select, score)
        remaining = iter(images)

        def prepare(image: Any) -> _Prepared | str:
            try:
                return self._prepare(read(image, upright))
            except UsageError as error:
                return str(error)

        with ThreadPoolExecutor(2) as pool:
            while chunk := list(islice(remaining, batch)):
                yield from self._detect(list(pool.map(prepare, chunk)), select, score)

    def checked(self, select: str | None, score: float | None) -> tuple[str, float]:
        """Selection and score with the record's in place of None.

        Raises:
            UsageError: for a value that this detector cannot take.
        """
        if select is None:
            default = self.record.selection.default
            select = default if default in self.selections else self.selections[0]
        if select not in SELECTIONS:
            raise UsageError(f"select={select} must be one of {', '.join(SELECTIONS)}")
        if select not in self.selections:
            raise UsageError(
                f"{self.source} was exported with the selection {' and '.join(self.selections)}, "
                f"not {select}: export it again with cut={select} or cut=raw"
            )
        score = self.record.selection.score if score is None else score
        if not 0 <= score <= 1:
            raise UsageError(f"score={score} must be a number from 0 to 1")
        if score < self.least_score:
            raise UsageError(
                f"score={score}: {self.source} was exported with a threshold of {self.least_score}; "
                "cut=raw has none"
            )
        return select, score

    def _prepare(self, image_HW3: np.ndarray) -> _Prepared:
        original = (image_HW3.shape[0], image_HW3.shape[1])
        size = self.record.resize.size(*original)
        return _Prepared(canvas(image_HW3, size, self.record.padding), size, original)

    def _detect(self, prepared: list[_Prepared | str], select: str, score: float) -> list[Found]:
        results = [unreadable(item, self.record) if isinstance(item, str) else None for item in prepared]
        rows_of_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for row, item in enumerate(prepared):
            if isinstance(item, _Prepared):
                rows_of_shape[item.canvas_3HW.shape].append(row)
        for rows in rows_of_shape.values():
            items = [item for row in rows if isinstance(item := prepared[row], _Prepared)]
            images_B3HW = np.stack([item.canvas_3HW for item in items])
            size_B2 = np.array([item.size for item in items])
            # The candidates are those of the evaluation, whose threshold may act on the class probability.
            threshold = min(score, self.record.selection.score)
            raw = self.detect(images_B3HW, size_B2, select, threshold)
            for row, item, (boxes_N4, scores_N, labels_N) in zip(rows, items, raw, strict=True):
                boxes_N4 = to_original(boxes_N4, item.size, item.original)
                found = Found(boxes_N4, scores_N, labels_N, item.original, self.record)
                results[row] = found if score == threshold else found[scores_N > score]
        return [result for result in results if result is not None]
