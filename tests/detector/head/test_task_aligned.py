"""TOOD's head against plain loops: layer attention, sampled sides, the score."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, group_norm

from assigners import GroundTruth, PointGrid, TaskAligned
from detector.criterion import Criterion
from detector.decode import decode
from detector.head.task_aligned import LayerAttention, TaskAlignedHead
from errors import UsageError

GRID = PointGrid.for_image(48, 80, (8, 16))


def _maps() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 12, *shape, generator=generator) for shape in GRID.shapes]


def _head(**options: object) -> TaskAlignedHead:
    torch.manual_seed(0)
    head = TaskAlignedHead(12, 3, 2, **{"channels": 16, "convs": 3, **options})  # type: ignore[arg-type]
    nn.init.normal_(head.box_out.weight, std=0.3)
    return head


@torch.no_grad()
def test_layer_attention_weighs_each_layer_before_the_convolution() -> None:
    torch.manual_seed(0)
    attention = LayerAttention(16, 3)
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.5)
    layers = torch.randn(2, 48, 4, 5)
    for image in range(2):
        mean = layers[image].mean(dim=(1, 2))
        hidden = (attention.weigh[0].weight[:, :, 0, 0] @ mean + attention.weigh[0].bias).clamp(min=0)  # type: ignore[operator, index]
        weight = (attention.weigh[2].weight[:, :, 0, 0] @ hidden + attention.weigh[2].bias).sigmoid()  # type: ignore[operator, index]
        weighed = torch.cat([weight[n] * layers[image, 16 * n : 16 * (n + 1)] for n in range(3)])
        reduced = conv2d(weighed[None], attention.reduce.weight)
        norm = attention.norm
        expected = group_norm(reduced, norm.num_groups, norm.weight, norm.bias).relu()[0]
        got = attention(layers, layers.mean(dim=(2, 3), keepdim=True))[image]
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def _boxes(head: TaskAlignedHead, offset: list[float] | None) -> Tensor:
    """Boxes in pixels, every point with the same eight offsets (rows, columns of each side)."""
    last = head.offset_out[-1]
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    nn.init.zeros_(last.weight)
    last.bias.data = torch.tensor(offset or [0.0] * 8)
    with torch.no_grad():
        return decode(head(_maps(), GRID)).boxes_BP4


def test_without_offsets_a_box_is_its_points_own() -> None:
    head = _head()
    head.scale.data = torch.tensor([0.5, 2.0])
    boxes = _boxes(head, None)
    sides = torch.stack((GRID.centers_P2 - boxes[0, :, :2], boxes[0, :, 2:] - GRID.centers_P2))
    assert (sides > 0).all()
    head.scale.data = torch.tensor([1.0, 1.0])
    twice = _boxes(head, None)
    first = GRID.level_slices[0]
    torch.testing.assert_close(
        (twice[..., 2:] - twice[..., :2])[:, first], 2 * (boxes[..., 2:] - boxes[..., :2])[:, first]
    )


def test_every_side_is_sampled_at_its_own_offset() -> None:
    """Bilinear, by a plain loop; beyond the map coordinates count as 0; crossed sides leave a box alone."""
    offset = [0.0, 1.0, 0.5, 0.0, 0.0, -1.25, 1.0, 0.5]
    own, got = _boxes(_head(), None), _boxes(_head(), offset)
    crossed = beside = 0
    for image in range(2):
        for level, part in enumerate(GRID.level_slices):
            rows, columns = GRID.shapes[level]
            map_ = own[image, part].view(rows, columns, 4)
            for i in range(rows):
                for j in range(columns):
                    box = []
                    for side in range(4):
                        y, x = i + offset[2 * side], j + offset[2 * side + 1]
                        value = 0.0
                        for row in range(rows):
                            for column in range(columns):
                                share = max(0.0, 1 - abs(y - row)) * max(0.0, 1 - abs(x - column))
                                value += share * map_[row, column, side].item()
                        box.append(value)
                    if box[0] > box[2] or box[1] > box[3]:
                        box, crossed = map_[i, j].tolist(), crossed + 1
                    center = GRID.centers_P2[part][i * columns + j]
                    beside += int(not (box[0] < center[0] < box[2] and box[1] < center[1] < box[3]))
                    found = got[image, part][i * columns + j]
                    torch.testing.assert_close(found, torch.tensor(box), rtol=1e-4, atol=1e-3)
    assert crossed > 0
    assert beside > 0


def test_start() -> None:
    """On zero features: a score of 0.01, the mean of class and alignment, and boxes of 8 strides."""
    torch.manual_seed(0)
    head = TaskAlignedHead(12, 3, 2, channels=16, convs=3)
    outputs = head([torch.zeros_like(map_) for map_ in _maps()], GRID)
    assert outputs.scoring.geometric_mean
    assert not outputs.scoring.class_threshold
    predictions = decode(outputs)
    torch.testing.assert_close(predictions.scores_BPC, torch.full((2, len(GRID), 3), 0.01))
    sides = (predictions.boxes_BP4[..., 2:] - predictions.boxes_BP4[..., :2]) / GRID.stride_P[:, None]
    torch.testing.assert_close(sides, torch.full_like(sides, 8.0))


def test_attention_and_offsets_start_near_zero() -> None:
    head = _head(channels=64)
    weights = {name: p.std().item() for name, p in head.named_parameters() if p.ndim == 4}
    small = {name for name, std in weights.items() if std < 0.002}
    attention = {f"{task}_attention.weigh.{n}.weight" for task in ("class", "box") for n in (0, 2)}
    assert small == attention | {"offset_out.0.weight", "offset_out.2.weight"}


@pytest.mark.parametrize(
    "options", [{"quality": "none"}, {"score": "product"}, {"channels": 4}, {"convs": 0}]
)
def test_errors(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"model\.head"):
        _head(**options)


@pytest.mark.parametrize("empty", [True, False])
def test_every_parameter_gets_a_finite_gradient(empty: bool) -> None:
    head = _head()
    boxes, labels = torch.tensor([[4.0, 6, 50, 40]]), torch.tensor([1])
    none = (boxes[:0], labels[:0])
    truth = GroundTruth.from_list([none, none] if empty else [(boxes, labels), none])
    outputs = head(_maps(), GRID)
    assignment = TaskAligned(candidates="everywhere")(GRID, decode(outputs), truth)
    assert (len(assignment) == 0) == empty
    criterion = Criterion("quality_focal", box_weight="score", normalizer="scores", quality="implicit")
    sum(criterion(outputs, truth, assignment).values(), torch.zeros(())).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        of_boxes = name.startswith(("box", "offset", "scale"))
        assert bool(parameter.grad.abs().sum() > 0) or (empty and of_boxes) or "offset" in name, name
