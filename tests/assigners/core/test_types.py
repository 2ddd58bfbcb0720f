"""PointGrid, GroundTruth and Assignment."""

import math

import pytest
import torch

from assigners import Assignment, GroundTruth, PointGrid


def test_points_go_level_after_level_and_row_after_row() -> None:
    grid = PointGrid.for_image(17, 20, (8, 16))
    assert grid.shapes == ((3, 3), (2, 2))
    assert grid.strides == (8, 16)
    assert grid.level_slices == (slice(0, 9), slice(9, 13))
    expected = [[x, y] for y in (4, 12, 20) for x in (4, 12, 20)] + [[8, 8], [24, 8], [8, 24], [24, 24]]
    assert grid.centers_P2.tolist() == expected
    assert grid.stride_P.tolist() == [8.0] * 9 + [16.0] * 4
    assert len(grid) == 13
    assert grid.centers_P2.dtype == grid.stride_P.dtype == torch.float32


@pytest.mark.parametrize(
    ("height", "width", "stride", "shape"),
    [(1, 1, 64, (1, 1)), (64, 64, 64, (1, 1)), (65, 64, 64, (2, 1)), (7, 23, 5, (2, 5)), (3, 4, 1, (3, 4))],
)
def test_cells_are_counted_upwards(height: int, width: int, stride: int, shape: tuple[int, int]) -> None:
    grid = PointGrid.for_image(height, width, (stride,))
    assert grid.shapes == (shape,)
    assert len(grid) == shape[0] * shape[1]


@pytest.mark.parametrize(
    ("height", "width", "strides"),
    [(0, 8, (8,)), (8, 0, (8,)), (-1, 8, (8,)), (8, 8, ()), (8, 8, (8, 0)), (8, 8, (-8,))],
)
def test_a_grid_without_extent_is_refused(height: int, width: int, strides: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="positive"):
        PointGrid.for_image(height, width, strides)


def test_from_list_keeps_empty_images_and_every_row() -> None:
    none = (torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))
    two = (torch.tensor([[0.0, 0, 1, 1], [math.nan, 0, 0, 0]]), torch.tensor([3, 4]))
    one = (torch.tensor([[5, 5, 2, 2]]), torch.tensor([1], dtype=torch.int32))
    truth = GroundTruth.from_list([none, two, none, one, none])
    assert truth.image_G.tolist() == [1, 1, 3]
    assert truth.labels_G.tolist() == [3, 4, 1]
    assert truth.boxes_G4.shape == (3, 4)
    assert truth.boxes_G4[2].tolist() == [5.0, 5.0, 2.0, 2.0]
    assert truth.boxes_G4.dtype == torch.float32
    assert truth.labels_G.dtype == truth.image_G.dtype == torch.int64
    assert len(truth) == 3


@pytest.mark.parametrize("images", [0, 1, 3])
def test_from_list_without_any_box(images: int) -> None:
    # Tensors made from empty lists have shape (0,), which is what a loader easily produces.
    truth = GroundTruth.from_list([(torch.tensor([]), torch.tensor([]))] * images)
    assert len(truth) == 0
    assert truth.boxes_G4.shape == (0, 4)
    assert truth.labels_G.dtype == truth.image_G.dtype == torch.int64


def test_from_list_refuses_boxes_without_labels() -> None:
    with pytest.raises(ValueError, match="2 boxes but 1 labels"):
        GroundTruth.from_list([(torch.zeros(2, 4), torch.zeros(1))])


def test_to_moves_all_three() -> None:
    truth = GroundTruth.from_list([(torch.zeros(2, 4), torch.zeros(2))]).to("meta")
    assert {t.device.type for t in (truth.boxes_G4, truth.labels_G, truth.image_G)} == {"meta"}


@pytest.fixture
def assignment() -> Assignment:
    """Points 0 and 2 of image 0 for truths 1 and 0, point 1 of image 2 for truth 2."""
    return Assignment(
        image_K=torch.tensor([0, 0, 2]),
        point_K=torch.tensor([0, 2, 1]),
        truth_K=torch.tensor([1, 0, 2]),
        score_K=torch.tensor([0.25, 1.0, 0.5]),
        weight_K=torch.tensor([0.5, 1.0, 1.0]),
    )


@pytest.fixture
def truth() -> GroundTruth:
    none = (torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))
    two, one = (torch.zeros(2, 4), torch.tensor([1, 0])), (torch.zeros(1, 4), torch.tensor([1]))
    return GroundTruth.from_list([two, none, one])


def test_dense(assignment: Assignment) -> None:
    assert len(assignment) == 3
    truth_BP = assignment.dense(3, 3)
    assert truth_BP.tolist() == [[1, -1, 0], [-1, -1, -1], [-1, 2, -1]]
    assert truth_BP.dtype == torch.int64


def test_labels(assignment: Assignment, truth: GroundTruth) -> None:
    assert assignment.labels(truth, 3, 3).tolist() == [[0, -1, 1], [-1, -1, -1], [-1, 1, -1]]
    assert assignment.labels(truth, 3, 3, background=7).tolist() == [[0, 7, 1], [7, 7, 7], [7, 1, 7]]


def test_targets(assignment: Assignment, truth: GroundTruth) -> None:
    target_BPC = assignment.targets(truth, 3, 3, classes=2)
    expected = torch.zeros(3, 3, 2)
    expected[0, 0, 0], expected[0, 2, 1], expected[2, 1, 1] = 0.25, 1.0, 0.5
    assert torch.equal(target_BPC, expected)


def test_an_empty_assignment_is_all_background() -> None:
    whole, real = torch.zeros(0, dtype=torch.long), torch.zeros(0)
    assignment = Assignment(whole, whole, whole, real, real)
    truth = GroundTruth.from_list([])
    assert len(assignment) == 0
    assert assignment.dense(2, 3).tolist() == [[-1] * 3] * 2
    assert assignment.labels(truth, 2, 3).tolist() == [[-1] * 3] * 2
    assert assignment.targets(truth, 2, 3, classes=4).abs().sum() == 0
