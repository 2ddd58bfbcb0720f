"""FCOS against its oracle, and cases that a person can follow."""

from functools import partial

import pytest

from assigners import FCOS, PointGrid
from tests.helpers.assigner_cases import CASES, copies, truths
from tests.helpers.assigner_check import agree, rows
from tests.oracles.fcos import fcos


@pytest.mark.parametrize("name", ["fcos", "fcos-inside"])
def test_agrees_with_the_oracle(name: str) -> None:
    agree(*CASES[name])


@pytest.mark.parametrize(("radius", "reach"), [(0.5, 1.0), (2.5, 2.5), (None, 4.0)])
def test_options_agree_with_the_oracle(radius: float | None, reach: float) -> None:
    options = {"center_radius": radius, "reach": reach}
    agree(FCOS(**options), partial(fcos, **options), examples=40)


@pytest.mark.parametrize(("side", "level"), [(40.0, 0), (100.0, 0), (136.0, 1), (240.0, 1), (264.0, 2)])
def test_each_level_has_its_sizes(side: float, level: int) -> None:
    """The centre lies on a point of P3; that of P4 and P5 is 4 px away and reaches so much farther."""
    grid = PointGrid.for_image(600, 600, (8, 16, 32))
    box = [300 - side / 2, 300 - side / 2, 300 + side / 2, 300 + side / 2]
    found = FCOS(center_radius=0.75)(grid, copies(grid, None), truths([box]))
    assert len(found) > 0
    part = grid.level_slices[level]
    assert ((found.point_K >= part.start) & (found.point_K < part.stop)).all()


def test_limits_are_included() -> None:
    grid = PointGrid.for_image(128, 128, (8, 16))
    # Point 119 of P3 sits at (60, 60): the farthest side is exactly 64 px away. So is that of (56, 56) on P4.
    found = FCOS(center_radius=None)(grid, copies(grid, None), truths([[0.0, 0.0, 124.0, 124.0]]))
    assert 7 * 16 + 7 in found.point_K.tolist()
    found = FCOS(center_radius=None)(grid, copies(grid, None), truths([[0.0, 0.0, 120.0, 120.0]]))
    assert 256 + 3 * 8 + 3 in found.point_K.tolist()


def test_a_contested_point_goes_to_the_smallest_truth() -> None:
    grid = PointGrid.for_image(24, 24, (8,))
    large, small = [0.0, 0.0, 24.0, 24.0], [6.0, 6.0, 18.0, 18.0]
    for boxes, owner in (([large, small], 1), ([small, large], 0), ([small, small], 0)):
        found = rows(FCOS()(grid, copies(grid, None), truths(boxes)))
        assert found[0, 4] == (owner, 1.0, 1.0)


@pytest.mark.parametrize("options", [{"center_radius": 0.0}, {"center_radius": -1.0}, {"reach": 0.0}])
def test_options_that_make_no_sense(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        FCOS(**options)
