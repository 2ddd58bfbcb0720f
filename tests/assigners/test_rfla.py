"""RFLA against its oracle, its small objects, and cases that a person can follow."""

from functools import partial

import pytest
import torch

from assigners import ATSS, FCOS, RFLA, PointGrid
from assigners.rfla import RESNET50
from tests.helpers.assigner_cases import CASES, copies, truths
from tests.helpers.assigner_check import agree, rows
from tests.oracles.rfla import rfla
from tests.oracles.scene import scenes


def test_agrees_with_the_oracle() -> None:
    agree(*CASES["rfla"])


@pytest.mark.parametrize(
    "options",
    [
        {"topk": 1, "extra": 3, "ratio": 0.5, "field": 4.0},
        {"topk": 5, "extra": 0, "field": 12.0},
        {"topk": 2, "extra": 2, "ratio": 0.7, "fraction": 1.0, "field": 2.5},
    ],
)
def test_options_agree_with_the_oracle(options: dict[str, float]) -> None:
    agree(RFLA(**options), partial(rfla, **options), examples=40)


def test_the_fields_of_resnet_50_agree_with_the_oracle() -> None:
    grid = PointGrid.for_image(256, 320, (8, 16, 32, 64, 128))
    generator = torch.Generator().manual_seed(0)
    corner_N2 = torch.randint(0, 800, (12, 2), generator=generator) / 4
    side_N2 = 2 ** (1 + 6 * torch.rand(12, 2, generator=generator))
    truth = truths(torch.cat((corner_N2, corner_N2 + side_N2), 1).tolist())
    predictions = copies(grid, None)
    ((scene, _),) = scenes(grid, predictions, truth)
    found = rows(RFLA()(grid, predictions, truth))
    assert {point: row for (_, point), row in found.items()} == rfla(scene)
    assert len({row[0] for row in found.values()}) == 12


@pytest.mark.parametrize("side", [2.0, 4.0, 6.0])
def test_no_truth_is_too_small(side: float) -> None:
    """Every place of a truth within a cell: some get nothing from others, four points each from RFLA."""
    grid = PointGrid.for_image(128, 128, (8, 16, 32, 64, 128))
    starved = {ATSS: 0, FCOS: 0}
    for shift in range(8):
        low, high = 60.0 + shift - side / 2, 60.0 + shift + side / 2
        box = [low, low, high, high]
        assert 3 <= len(RFLA()(grid, copies(grid, None), truths([box]))) <= 4
        for other in starved:
            starved[other] += len(other()(grid, copies(grid, None), truths([box]))) == 0
    assert min(starved.values()) > 0


def test_fields_are_those_of_the_network() -> None:
    """Kernel sizes and strides of ResNet-50, down to the last 3x3 convolution of each stage."""
    layers = [(7, 2), (3, 2)]
    field, jump, found = 1, 1, {}
    for kernel, stride in layers:
        field, jump = field + (kernel - 1) * jump, jump * stride
    for blocks, first in ((3, 1), (4, 2), (6, 2), (3, 2)):
        for block in range(blocks):
            field, jump = field + 2 * jump, jump * (first if block == 0 else 1)
        found[jump] = field
    assert found == {stride: RESNET50[stride] for stride in (4, 8, 16, 32)}


def test_an_unknown_stride_asks_for_the_field() -> None:
    grid = PointGrid.for_image(40, 40, (10,))
    with pytest.raises(ValueError, match="stride 10 is not known: set `field`"):
        RFLA()(grid, copies(grid, None), truths([[1.0, 1.0, 9.0, 9.0]]))


@pytest.mark.parametrize(
    "options", [{"topk": 0}, {"extra": -1}, {"ratio": 0.0}, {"fraction": -0.5}, {"field": 0.0}]
)
def test_options_that_make_no_sense(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        RFLA(**options)
