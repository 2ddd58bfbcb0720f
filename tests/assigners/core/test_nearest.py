"""The nearest points, against a search through all of them in exact arithmetic."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from assigners import PointGrid
from assigners.core.nearest import _nearby, nearest_points

# Halves, so that float32 is exact and ties are plenty; centres lie inside and outside the image.
HALVES = st.integers(-200, 700).map(lambda n: n / 2)


def search(grid: PointGrid, center: tuple[float, float], k: int) -> list[int]:
    """The k nearest points of every level by (distance, index)."""
    chosen = []
    for level in grid.level_slices:
        points = range(level.start, level.stop)
        x, y = grid.centers_P2[:, 0].tolist(), grid.centers_P2[:, 1].tolist()
        distance = {p: (x[p] - center[0]) ** 2 + (y[p] - center[1]) ** 2 for p in points}
        chosen += sorted(points, key=lambda p: (distance[p], p))[:k]
    return chosen


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 200),
    width=st.integers(1, 200),
    strides=st.sampled_from([(8,), (8, 16, 32), (4, 64)]),
    k=st.sampled_from([1, 2, 3, 5, 9, 13]),
    centers=st.lists(st.tuples(HALVES, HALVES), min_size=1, max_size=6),
)
def test_the_nearest_are_found_in_order(
    height: int, width: int, strides: tuple[int, ...], k: int, centers: list[tuple[float, float]]
) -> None:
    grid = PointGrid.for_image(height, width, strides)
    boxes_G4 = torch.tensor([(x - 4, y - 4, x + 4, y + 4) for x, y in centers])
    point_GN, exists_GN = nearest_points(grid, boxes_G4, k)
    assert point_GN.shape == exists_GN.shape == (len(centers), k * len(strides))
    for row, center in enumerate(centers):
        assert point_GN[row][exists_GN[row]].tolist() == search(grid, center, k)


@pytest.mark.parametrize(("k", "most"), [(1, 1), (4, 13), (9, 23), (13, 38)])
def test_few_cells_are_looked_at(k: int, most: int) -> None:
    assert len(_nearby(k, "cpu").number_O) == most


def test_no_truths() -> None:
    point_GN, exists_GN = nearest_points(PointGrid.for_image(64, 64, (8, 16)), torch.zeros(0, 4), 9)
    assert point_GN.shape == exists_GN.shape == (0, 18)
