"""The batches that are timed are what they say they are."""

import pytest
import torch

from benchmarks.assigners.cases import CASES, Case, aerial_counts, pairs_inside

SMALL = Case("small", 96, 128, (8, 16), (3, 0, 5), (8.0, 64.0))


def test_the_same_seed_draws_the_same_batch() -> None:
    (_, first, truth), (_, second, other) = SMALL.draw(1), SMALL.draw(1)
    assert torch.equal(first.boxes_BP4, second.boxes_BP4)
    assert torch.equal(first.scores_BPC, second.scores_BPC)
    assert torch.equal(truth.boxes_G4, other.boxes_G4)
    assert not torch.equal(truth.boxes_G4, SMALL.draw(2)[2].boxes_G4)


def test_a_batch_does_not_depend_on_the_number_of_threads() -> None:
    crowded = Case("crowded", 320, 320, (8, 16), (40,) * 8)
    threads = torch.get_num_threads()
    drawn = []
    try:
        for count in (1, 5):
            torch.set_num_threads(count)
            drawn.append(crowded.draw())
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    (_, first, truth), (_, second, other) = drawn
    assert torch.equal(first.boxes_BP4, second.boxes_BP4)
    assert torch.equal(first.scores_BPC, second.scores_BPC)
    assert torch.equal(truth.boxes_G4, other.boxes_G4)


def test_truths_have_the_counts_and_the_sizes_asked_for() -> None:
    grid, predictions, truth = SMALL.draw()
    assert torch.bincount(truth.image_G, minlength=3).tolist() == [3, 0, 5]
    side_G2 = truth.boxes_G4[:, 2:] - truth.boxes_G4[:, :2]
    assert side_G2.min() >= 8 - 1e-3
    assert side_G2.max() <= 64 + 1e-3
    assert (truth.boxes_G4 >= 0).all()
    assert (truth.boxes_G4[:, 2:] <= torch.tensor([128.0, 96.0]) + 1e-3).all()
    assert predictions.boxes_BP4.shape == (3, len(grid), 4)
    assert ((predictions.scores_BPC >= 0) & (predictions.scores_BPC <= 1)).all()


def test_pairs_are_the_points_inside_the_truths() -> None:
    grid, _, truth = inputs = SMALL.draw()
    low_GP2 = grid.centers_P2 - truth.boxes_G4[:, None, :2]
    high_GP2 = truth.boxes_G4[:, None, 2:] - grid.centers_P2
    assert pairs_inside(inputs) == int(((low_GP2 > 0) & (high_GP2 > 0)).all(-1).sum()) > 50


def test_the_aerial_crowd_is_as_crowded_as_described() -> None:
    counts = aerial_counts()
    assert (len(counts), sum(counts), max(counts)) == (128, 75_000, 5_000)
    assert min(counts) > 0


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_names_are_unique_and_sizes_fit(case: Case) -> None:
    assert sum(other.name == case.name for other in CASES) == 1
    assert case.sides[1] <= min(case.height, case.width)
