"""POTO against its oracle, the matching against brute force, and cases that a person can follow."""

import random
from functools import partial

import pytest
import torch
from hypothesis import given

from assigners import POTO, GroundTruth, PointGrid, Predictions
from assigners.core.matching import best_matching
from assigners.core.pairs import Pairs
from tests.helpers.assigner_batches import Batch, batches, random_predictions
from tests.helpers.assigner_cases import CASES, GRID, copies, crowd, truths
from tests.helpers.assigner_check import agree, repeatable, rows
from tests.oracles.poto import MISSED, best, poto, qualities, total
from tests.oracles.scene import scenes


def test_agrees_with_the_oracle() -> None:
    agree(*CASES["poto"], decided=0.4)


@pytest.mark.parametrize(("alpha", "radius"), [(0.5, 0.5), (0.95, 2.5), (0.2, 100.0)])
def test_options_agree_with_the_oracle(alpha: float, radius: float) -> None:
    options = {"alpha": alpha, "center_radius": radius}
    agree(POTO(**options), partial(poto, **options), examples=40, decided=0.2)


@repeatable(80)
@given(batches(styles=("near", "coarse", "broken")))
def test_the_sum_of_qualities_is_the_largest(batch: Batch) -> None:
    """Among ties, too, where the choice itself may differ."""
    same_sum(batch, 1e-5)


@pytest.mark.parametrize("style", ["near", "coarse"])
@pytest.mark.parametrize("count", [40, 150])
def test_the_sum_is_the_largest_in_crowds(count: int, style: str) -> None:
    pairs = crowd(3, count, 96, seed=count)
    predictions = random_predictions(GRID, pairs, 3, style, seed=count)
    batch = Batch(GRID, predictions, GroundTruth.from_list(pairs), 3, style)
    same_sum(batch, 1e-4)
    same_sum(batch, 1e-4, alpha=0.0, center_radius=100.0)


def same_sum(batch: Batch, tolerance: float, **options: float) -> None:
    found = rows(POTO(**options)(batch.grid, batch.predictions, batch.truth))
    for image, (scene, first) in enumerate(scenes(batch.grid, batch.predictions, batch.truth)):
        table = qualities(scene, **options)
        ours = {t - first: p for (i, p), (t, _, _) in found.items() if i == image}
        assert total(table, ours) == pytest.approx(total(table, best(table)), abs=tolerance)


def brute_force(values: dict[int, dict[int, float]], taken: frozenset[int] = frozenset()) -> float:
    """The largest sum over all matchings."""
    if not values:
        return 0.0
    truth, *others = values
    rest = {other: values[other] for other in others}
    options = [MISSED + brute_force(rest, taken)]
    options += [v + brute_force(rest, taken | {c}) for c, v in values[truth].items() if c not in taken]
    return max(options)


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("coarse", [False, True])
def test_the_matching_and_its_oracle_equal_brute_force(seed: int, coarse: bool) -> None:
    """Up to 6 truths that want a few points, with values from few or from many numbers."""
    drawn = random.Random(seed)
    count, cells = drawn.randint(1, 6), drawn.randint(1, 6)
    values: dict[int, dict[int, float]] = {}
    for truth in range(count):
        wanted = [cell for cell in range(cells) if drawn.random() < 0.6]
        row = {cell: drawn.randint(0, 2) / 2 if coarse else drawn.randint(0, 1024) / 1024 for cell in wanted}
        if row:
            values[truth] = row
    flat = [(t, c, v) for t, row in values.items() for c, v in row.items()]
    truth_M, cell_M = (torch.tensor([entry[axis] for entry in flat], dtype=torch.long) for axis in (0, 1))
    value_M = torch.tensor([entry[2] for entry in flat])
    row_K = best_matching(Pairs(truth_M, cell_M), cell_M, value_M, count, cells)
    chosen = dict(zip(truth_M[row_K].tolist(), cell_M[row_K].tolist(), strict=True))
    assert len(chosen) == len(set(chosen.values())) == len(row_K)
    assert cell_M[row_K].tolist() == sorted(chosen.values())
    assert total(values, chosen) == total(values, best(values)) == brute_force(values)


def test_one_positive_with_score_one() -> None:
    grid = PointGrid.for_image(8, 24, (8,))
    box = [0.0, 0.0, 24.0, 8.0]
    scores = torch.tensor([[[0.25], [0.5], [0.5]]])
    boxes = torch.tensor([[box, [0.0, 0.0, 24.0, 7.0], box]])
    assert rows(POTO()(grid, Predictions(scores, boxes), truths([box]))) == {(0, 2): (0, 1.0, 1.0)}


def test_a_chain_of_truths_gives_way() -> None:
    """Three points in a row and three truths: each is best served by the next one's first choice."""
    grid = PointGrid.for_image(8, 24, (8,))
    box = [0.0, 0.0, 24.0, 8.0]
    scores = torch.tensor([[[0.5, 0.9, 0.1], [0.8, 0.8, 0.6], [0.1, 0.5, 0.7]]])
    truth = truths([box, box, box])
    truth.labels_G[:] = torch.tensor([0, 1, 2])
    # With alpha 0 the quality is p. Greedily: 0.9 + 0.8 + 0.7, as it happens, is also the largest sum.
    found = POTO(alpha=0.0)(grid, Predictions(scores, copies(grid, box).boxes_BP4), truth)
    assert found.truth_K.tolist() == [1, 0, 2]
    # Now truth 1 still prefers point 0, but truth 0 has nothing else that is good, and so truth 1 moves.
    scores[0, :, 0] = torch.tensor([0.8, 0.1, 0.1])
    found = POTO(alpha=0.0)(grid, Predictions(scores, copies(grid, box).boxes_BP4), truth)
    assert found.truth_K.tolist() == [0, 1, 2]


def test_a_poor_point_is_better_than_none() -> None:
    """0.9 alone is more than 0.3 + 0.01, but leaving a truth without a point counts -1."""
    grid = PointGrid.for_image(8, 16, (8,))
    wide, left = [0.0, 0.0, 16.0, 8.0], [0.0, 0.0, 8.0, 8.0]
    truth = truths([wide, left])
    truth.labels_G[1] = 1
    scores = torch.tensor([[[0.9, 0.3], [0.01, 0.5]]])
    found = POTO(alpha=0.0)(grid, Predictions(scores, copies(grid, wide).boxes_BP4), truth)
    assert found.truth_K.tolist() == [1, 0]


def test_duplicates_get_a_point_each_and_the_lower_truths_come_first() -> None:
    grid = PointGrid.for_image(8, 16, (8,))
    box = [0.0, 0.0, 16.0, 8.0]
    found = POTO()(grid, copies(grid, box), truths([box, box, box]))
    assert sorted(found.truth_K.tolist()) == [0, 1]


def test_points_without_overlap_are_no_candidates() -> None:
    box = [0.0, 0.0, 24.0, 24.0]
    grid = PointGrid.for_image(24, 24, (8,))
    assert len(POTO()(grid, copies(grid, None, score=1.0), truths([box]))) == 0


@pytest.mark.parametrize("options", [{"alpha": -0.1}, {"alpha": 1.1}, {"center_radius": 0.0}])
def test_options_that_make_no_sense(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        POTO(**options)
