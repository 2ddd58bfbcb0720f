"""Compares an assigner with its oracle, and checks what every assignment must fulfil."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

import torch
from hypothesis import HealthCheck, given, settings

from assigners import Assigner, Assignment, GroundTruth, PointGrid, Predictions
from tests.helpers.assigner_batches import KINDS, STYLES, Batch, Seeded, batch_from, batches
from tests.oracles.scene import Assigned, Scene, UndecidedError, Weighted, scenes

Oracle = Callable[..., Assigned]
SEEDS = 20


def repeatable(examples: int) -> settings:
    """So many cases, the same in every run, however long one takes."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def rows(assignment: Assignment) -> dict[tuple[int, int], tuple[int, float, float]]:
    """(image, point) -> (truth row, score, weight)."""
    keys = zip(assignment.image_K.tolist(), assignment.point_K.tolist(), strict=True)
    values = zip(
        assignment.truth_K.tolist(), assignment.score_K.tolist(), assignment.weight_K.tolist(), strict=True
    )
    return dict(zip(keys, values, strict=True))


def check_wellformed(
    assignment: Assignment, grid: PointGrid, predictions: Predictions, truth: GroundTruth
) -> None:
    """Types, order, ranges, one truth per point, and a truth of the point's own image."""
    whole = (assignment.image_K, assignment.point_K, assignment.truth_K)
    real = (assignment.score_K, assignment.weight_K)
    assert all(t.dtype == torch.int64 for t in whole)
    assert all(t.dtype == torch.float32 for t in real)
    assert {tuple(t.shape) for t in (*whole, *real)} == {(len(assignment),)}
    assert not any(t.requires_grad for t in real)
    _check_weighted_background(assignment, grid, predictions)
    if assignment.certain_K is not None:
        assert assignment.certain_K.dtype == torch.bool
        certain = assignment.truth_K[assignment.certain_K].tolist()
        assert sorted(certain) == sorted(set(assignment.truth_K.tolist())), "one of each truth is certain"
    key_K = assignment.image_K * len(grid) + assignment.point_K
    assert bool((key_K[1:] > key_K[:-1]).all()), "rows are sorted by (image, point), each at most once"
    if len(assignment) == 0:
        return
    assert int(assignment.image_K.min()) >= 0
    assert int(assignment.image_K.max()) < len(predictions.scores_BPC)
    assert int(assignment.point_K.min()) >= 0
    assert int(assignment.point_K.max()) < len(grid)
    assert torch.equal(truth.image_G[assignment.truth_K], assignment.image_K)
    assert bool(((assignment.score_K >= 0) & (assignment.score_K <= 1)).all())
    assert bool((assignment.weight_K > 0).all())
    boxes_K4 = truth.boxes_G4[assignment.truth_K]
    assert bool(boxes_K4.isfinite().all())
    assert bool((boxes_K4[:, 2:] > boxes_K4[:, :2]).all())


def _check_weighted_background(assignment: Assignment, grid: PointGrid, predictions: Predictions) -> None:
    """Each point at most once, within the batch, with a finite weight."""
    image_N, point_N, weight_N = assignment.image_N, assignment.point_N, assignment.weight_N
    assert image_N.shape == point_N.shape == weight_N.shape
    assert image_N.dtype == point_N.dtype == torch.int64
    assert weight_N.dtype == torch.float32
    assert not weight_N.requires_grad
    assert len((image_N * len(grid) + point_N).unique()) == len(image_N)
    assert bool(((image_N >= 0) & (image_N < len(predictions.scores_BPC))).all())
    assert bool(((point_N >= 0) & (point_N < len(grid))).all())
    assert bool((weight_N.isfinite() & (weight_N >= 0)).all())


def check_same(assignment: Assignment, other: Assignment) -> None:
    """Bit for bit."""
    for name, ours in vars(assignment).items():
        theirs = vars(other)[name]
        assert (ours is None and theirs is None) or torch.equal(ours, theirs), name


def check_image(actual: Assigned, expected: Assigned) -> None:
    """The same points for the same truths, with scores and weights within 1e-5."""
    assert {p: row[0] for p, row in actual.items()} == {p: row[0] for p, row in expected.items()}
    for point, (_, score, weight) in expected.items():
        assert math.isclose(actual[point][1], score, rel_tol=1e-5, abs_tol=1e-5), (
            point,
            actual[point],
            score,
        )
        assert math.isclose(actual[point][2], weight, rel_tol=1e-6), (point, actual[point], weight)


def compare(assigner: Assigner, oracle: Oracle, batch: Batch, progress: float = 0.0) -> Counter[str]:
    """Compares image by image; counts images compared and images that rounding leaves undecided."""
    assignment = assigner(batch.grid, batch.predictions, batch.truth, progress=progress)
    check_wellformed(assignment, batch.grid, batch.predictions, batch.truth)
    seen: Counter[str] = Counter()
    found = rows(assignment)
    for image, (scene, first) in enumerate(scenes(batch.grid, batch.predictions, batch.truth)):
        expected = _answer(oracle, scene, progress)
        if expected is None:
            seen["undecided"] += 1
            continue
        seen["compared"] += 1
        seen["with positives"] += bool(expected)
        actual = {p: (t - first, s, w) for (i, p), (t, s, w) in found.items() if i == image}
        check_image(actual, expected)
        _check_background(assignment, image, expected.background if isinstance(expected, Weighted) else {})
    return seen


def _check_background(assignment: Assignment, image: int, expected: dict[int, float]) -> None:
    mine_N = assignment.image_N == image
    rows = zip(assignment.point_N[mine_N].tolist(), assignment.weight_N[mine_N].tolist(), strict=True)
    actual = dict(rows)
    assert actual.keys() == expected.keys()
    for point, weight in expected.items():
        assert math.isclose(actual[point], weight, rel_tol=1e-4, abs_tol=1e-4), (point, actual[point], weight)


def _answer(oracle: Oracle, scene: Scene, progress: float) -> Assigned | None:
    try:
        return oracle(scene, progress=progress)
    except UndecidedError:
        return None


def agree(
    assigner: Assigner,
    oracle: Oracle,
    examples: int = 60,
    kinds: Sequence[str] = KINDS,
    styles: Sequence[str] = STYLES,
    progress: float = 0.0,
    decided: float = 0.5,
    positive: float = 0.1,
) -> None:
    """Holds an assigner to its oracle on batches of hypothesis and on as many as SEEDS from fixed seeds.

    Of the images from fixed seeds at least the given shares must be decided, and have positives.
    """

    @repeatable(examples)
    @given(batches(kinds, styles))
    def check(batch: Batch) -> None:
        compare(assigner, oracle, batch, progress)

    check()
    seen: Counter[str] = Counter()
    for seed in range(SEEDS):
        seen.update(compare(assigner, oracle, batch_from(Seeded(seed), kinds, styles), progress))
    total = seen["compared"] + seen["undecided"]
    assert seen["compared"] >= decided * total, seen
    assert seen["with positives"] >= positive * total, seen
