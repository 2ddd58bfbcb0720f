"""Selection against plain loops: thresholds, clipping, limits, ties."""

from collections.abc import Callable
from math import nan

import pytest
import torch

from assigners.core.types import PointGrid, Predictions
from detector.decode import Decoded
from detector.select import Detections, nms, topk

GRID = PointGrid.for_image(32, 40, (8, 16))
SIZES = torch.tensor([[32, 40], [25, 40], [32, 17]])  # height and width of each image in the batch
Row = tuple[float, int, int]  # score, point, class


def _predictions(seed: int, ties: bool, quality: bool = False) -> Decoded:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(3, len(GRID), 4, generator=generator)
    if ties:
        scores = (scores * 8).floor() / 8
    centers = 32 * torch.rand(3, len(GRID), 2, generator=generator)
    half = 4 + 8 * torch.rand(3, len(GRID), 2, generator=generator)
    boxes = torch.cat((centers - half, centers + half), dim=-1)
    if not quality:
        return Decoded(scores, boxes)
    # Quarters, so that score = class x quality and its threshold are exact.
    quality_BP = torch.randint(1, 5, (3, len(GRID)), generator=generator) / 4
    return Decoded(scores * quality_BP[..., None], boxes, quality_BP)


def _clipped(predictions: Predictions, image: int, point: int) -> list[float]:
    height, width = SIZES[image].tolist()
    x1, y1, x2, y2 = predictions.boxes_BP4[image, point].tolist()
    return [min(max(x1, 0), width), min(max(y1, 0), height), min(max(x2, 0), width), min(max(y2, 0), height)]


def _iou(a: list[float], b: list[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inter = max(0.0, width) * max(0.0, height)
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def _loop(
    predictions: Decoded, image: int, threshold: float, candidates: int, limit: int, iou: float | None
) -> list[Row]:
    chosen: list[Row] = []
    for part in GRID.level_slices:
        level: list[Row] = []
        for point in range(part.start, part.stop):
            x1, y1, x2, y2 = _clipped(predictions, image, point)
            if x1 >= x2 or y1 >= y2:
                continue
            quality = 1.0 if predictions.quality_BP is None else predictions.quality_BP[image, point].item()
            for label, score in enumerate(predictions.scores_BPC[image, point].tolist()):
                if score / quality > threshold:
                    level.append((score, point, label))
        chosen += sorted(level, key=lambda row: (-row[0], row[1], row[2]))[:candidates]
    chosen.sort(key=lambda row: (-row[0], row[1], row[2]))
    kept: list[Row] = []
    for row in chosen:
        box = _clipped(predictions, image, row[1])
        clash = iou is not None and any(
            other[2] == row[2] and _iou(box, _clipped(predictions, image, other[1])) > iou for other in kept
        )
        if not clash:
            kept.append(row)
    return kept[:limit]


@pytest.mark.parametrize("quality", [False, True])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(
    ("threshold", "candidates", "limit"), [(0.0, 1000, 1000), (0.5, 1000, 10), (0.25, 7, 100), (0.5, 3, 5)]
)
def test_against_plain_loops(
    quality: bool, ties: bool, threshold: float, candidates: int, limit: int
) -> None:
    predictions = _predictions(limit, ties, quality)
    best = topk(predictions, GRID, threshold, candidates, limit, SIZES)
    suppressed = nms(predictions, GRID, threshold, candidates, limit, 0.4, SIZES)
    assert len(best) == len(suppressed) == 3
    for image in range(3):
        for found, iou in ((best[image], None), (suppressed[image], 0.4)):
            rows = _loop(predictions, image, threshold, candidates, limit, iou)
            assert found.scores_N.tolist() == [row[0] for row in rows]
            assert found.labels_N.tolist() == [row[2] for row in rows]
            assert found.boxes_N4.tolist() == [_clipped(predictions, image, row[1]) for row in rows]


@pytest.mark.parametrize("select", [topk, nms])
def test_boxes_outside_take_no_place(select: Callable[..., list[Detections]]) -> None:
    """The best candidate of the level lies outside, or has no extent: the next one is found, not none."""
    for outside in (
        [-9.0, 3, -1, 8],
        [41, 3, 50, 8],
        [3, 33, 8, 40],
        [5, 5, 5, 9],
        [9, 5, 5, 9],
        [0, 0, nan, 9],
    ):
        boxes = torch.tensor([1.0, 1, 9, 9]).repeat(1, len(GRID), 1)
        boxes[0, 0] = torch.tensor(outside)
        scores = torch.zeros(1, len(GRID), 2)
        scores[0, :2, 1] = torch.tensor([0.9, 0.8])
        found = select(Predictions(scores, boxes), GRID, candidates=1, limit=1)[0]
        assert found.scores_N.tolist() == pytest.approx([0.8])


def test_nms_keeps_classes_apart_where_boxes_leave_the_image() -> None:
    """Moved by class, as batched NMS moves them, these boxes would overlap if they were not clipped."""
    boxes = torch.zeros(1, len(GRID), 4)
    boxes[0, 0] = torch.tensor([0.0, 0, 30, 30])
    boxes[0, 1] = torch.tensor([-30.0, -30, 2, 2])
    scores = torch.zeros(1, len(GRID), 2)
    scores[0, 0, 0], scores[0, 1, 1] = 0.9, 0.8
    assert nms(Predictions(scores, boxes), GRID)[0].labels_N.tolist() == [0, 1]


@pytest.mark.parametrize("count", [300, 1600])  # batched NMS takes another way above 1000 boxes
def test_equal_scores_keep_their_order_through_nms(count: int) -> None:
    """Points, then classes: many boxes of few scores, none of which suppresses another."""
    grid = PointGrid.for_image(160, 160, (8,))
    boxes = torch.cat((grid.centers_P2 - 3, grid.centers_P2 + 3), dim=1)[None]
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(1, 4, (1, len(grid), 4), generator=generator) / 4
    scores.view(-1)[count:] = 0
    rows = [
        (-scores[0, p, c].item(), p, c) for p in range(len(grid)) for c in range(4) if scores[0, p, c] > 0
    ]
    found = nms(Predictions(scores, boxes), grid, candidates=count, limit=count)[0]
    assert found.labels_N.tolist() == [c for _, _, c in sorted(rows)]
    assert found.boxes_N4.tolist() == [boxes[0, p].tolist() for _, p, _ in sorted(rows)]


def test_nms_drops_something() -> None:
    predictions = _predictions(0, False)
    assert len(nms(predictions, GRID, limit=1000, iou=0.4)[0]) < len(topk(predictions, GRID, limit=1000)[0])


def test_nms_is_per_class_and_exact_beside_huge_boxes() -> None:
    """A box of a million pixels must not blur the overlap of small ones."""
    boxes = torch.zeros(1, len(GRID), 4)
    boxes[0, 0] = torch.tensor([0.0, 0.0, 10.0, 10.0])
    boxes[0, 1] = torch.tensor([0.0, 0.0, 10.0, 6.1])  # IoU 0.61
    boxes[0, 2] = torch.tensor([0.0, 0.0, 10.0, 5.9])  # IoU 0.59 with the first, 0.97 with the second
    boxes[0, 3] = torch.tensor([-1e6, -1e6, 1e6, 1e6])
    scores = torch.zeros(1, len(GRID), 80)
    scores[0, :4, 79] = torch.tensor([0.9, 0.8, 0.7, 0.6])
    scores[0, 1, 3] = 0.5
    found = nms(Predictions(scores, boxes), GRID)[0]
    assert found.labels_N.tolist() == [79, 79, 79, 3]
    assert found.scores_N.tolist() == pytest.approx([0.9, 0.7, 0.6, 0.5])
    assert found.boxes_N4[2].tolist() == [0, 0, 40, 32]


def test_threshold_is_strict_and_nan_is_nothing() -> None:
    scores = torch.full((1, len(GRID), 2), 0.25)
    scores[0, 3, 1] = 0.26
    scores[0, 4, 0] = float("nan")
    predictions = Predictions(scores, torch.tensor([1.0, 1, 9, 9]).expand(1, len(GRID), 4))
    assert topk(predictions, GRID, score_threshold=0.25)[0].labels_N.tolist() == [1]


@pytest.mark.parametrize("select", [topk, nms])
def test_nothing_found(select: Callable[..., list[Detections]]) -> None:
    predictions = Predictions(torch.zeros(2, len(GRID), 3), torch.zeros(2, len(GRID), 4))
    found = select(predictions, GRID)
    assert [len(image) for image in found] == [0, 0]
    assert found[0].boxes_N4.shape == (0, 4)
    assert found[0].labels_N.dtype == torch.int64
