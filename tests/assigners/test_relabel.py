"""OneToFewLabels against its oracle, and against O2F, whose labels they are."""

from functools import partial

import pytest
import torch
from hypothesis import given

from assigners import ATSS, O2F, OneToFewLabels, PointGrid, Predictions, TaskAligned
from tests.helpers.assigner_batches import Batch, batches
from tests.helpers.assigner_cases import CASES, crowded, truths
from tests.helpers.assigner_check import agree, check_same, repeatable, rows
from tests.oracles.atss import atss
from tests.oracles.relabel import one_to_few


@pytest.mark.parametrize("progress", [0.0, 1.0])
def test_agrees_with_the_oracle(progress: float) -> None:
    agree(*CASES["tal-one-to-few"], examples=50, progress=progress)


def test_options_agree_with_the_oracle() -> None:
    options = {"alpha": 0.3, "t_max": 0.9, "t_min": 0.1, "soft_weight": 0.25}
    assigner = OneToFewLabels(ATSS(), **options)
    agree(assigner, partial(one_to_few, positives=atss, **options), examples=40, progress=0.5)


@repeatable(80)
@given(batches())
def test_o2f_labelled_anew_is_o2f(batch: Batch) -> None:
    given_ = batch.grid, batch.predictions, batch.truth
    for progress in (0.0, 0.3):
        check_same(OneToFewLabels(O2F())(*given_, progress), O2F()(*given_, progress))


def test_the_positives_are_those_of_the_assigner() -> None:
    batch = crowded(seed=2)
    given_ = batch.grid, batch.predictions, batch.truth
    plain, labelled = TaskAligned()(*given_), OneToFewLabels(TaskAligned())(*given_)
    for name in ("image_K", "point_K", "truth_K"):
        assert torch.equal(getattr(plain, name), getattr(labelled, name))
    certain = labelled.truth_K[labelled.weight_K == 1]
    assert certain.sort().values.tolist() == plain.truth_K.unique().tolist()


def test_by_hand() -> None:
    grid = PointGrid.for_image(8, 24, (8,))
    box = [0.0, 0.0, 24.0, 8.0]
    scores = torch.tensor([[[0.25], [0.5], [0.5]]])
    boxes = torch.tensor([[box, box, [0.0, 0.0, 24.0, 6.0]]])
    assigner = OneToFewLabels(TaskAligned())
    found = rows(assigner(grid, Predictions(scores, boxes), truths([box]), progress=0.5))
    assert found[0, 1] == (0, 1.0, 1.0)
    assert found[0, 2][1:] == pytest.approx((0.4, 0.4))
    assert found[0, 0][1:] == pytest.approx((0.2, 0.4))
    assert assigner.soft_target(0.5) == pytest.approx(0.4)


def test_an_alpha_that_makes_no_sense() -> None:
    with pytest.raises(ValueError, match=r"alpha must lie in \[0, 1\]"):
        OneToFewLabels(O2F(), alpha=1.5)


@pytest.mark.parametrize("options", [{"t_max": 1.5}, {"t_min": -0.1}, {"soft_weight": -1.0}])
def test_soft_labels_that_make_no_sense(options: dict[str, float]) -> None:
    name, value = next(iter(options.items()))
    for build in (O2F, partial(OneToFewLabels, O2F())):
        with pytest.raises(ValueError, match=rf"{name}.*{value}"):
            build(**options)
