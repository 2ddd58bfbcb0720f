"""PicoDet's head: its order of points, its distributions, its quality branches."""

import pytest
import torch
from torch import Tensor, nn

from assigners.core.types import PointGrid
from detector.decode import decode
from detector.head.pico import PicoHead, Squeeze
from errors import UsageError

GRID = PointGrid.for_image(48, 80, (8, 16))


def _maps(channels: int = 8) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, channels, *shape, generator=generator) for shape in GRID.shapes]


def _head(**options: object) -> PicoHead:
    torch.manual_seed(0)
    return PicoHead(8, 3, 2, **{"channels": 16, "convs": 1, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("channels_last", [False, True])
def test_points_come_in_the_order_of_the_grid(channels_last: bool) -> None:
    """Maps that hold their own coordinates and level come out as those of the grid."""
    head = _head(convs=0)
    for out in head.class_outs:
        assert isinstance(out, nn.Conv2d)
        out.weight.data.zero_()[torch.arange(3), torch.arange(3)] = 1.0
        nn.init.zeros_(out.bias)  # type: ignore[arg-type]
    maps = []
    for level, part in enumerate(GRID.level_slices):
        center_P2, shape = GRID.centers_P2[part], GRID.shapes[level]
        map_ = torch.zeros(2, 8, *shape)
        map_[:, :2] = center_P2.T.view(2, *shape)
        map_[1, 2] = level
        maps.append(map_.contiguous(memory_format=torch.channels_last) if channels_last else map_)
    outputs = head(maps, GRID)
    logits = outputs.logits_BPC
    assert outputs.quality_BP is None
    for image in range(2):
        assert torch.equal(logits[image, :, :2], GRID.centers_P2)
    assert torch.equal(logits[1, :, 2], (GRID.stride_P == 16).float())


def test_a_distance_is_the_mean_of_its_own_distribution() -> None:
    """Each side of each level prefers another value; the logits are those of left, top, right and bottom."""
    head = _head(convs=0, reg_max=5)
    wanted = torch.tensor([[0.0, 1.0, 2.5, 5.0], [4.5, 3.0, 0.5, 2.0]])
    for out, strides_4 in zip(head.box_outs, wanted, strict=True):
        assert isinstance(out, nn.Conv2d)
        assert out.bias is not None
        nn.init.zeros_(out.weight)
        # 30 at the value, or at the two around it: the softmax leaves the others less than 1e-12.
        near = (torch.arange(6) - strides_4[:, None]).abs() < 0.75
        out.bias.data = 30.0 * near.float().flatten()
    outputs = head(_maps(), GRID)
    distances = outputs.distances_BP4
    assert outputs.distribution_BP4E is not None
    assert outputs.distribution_BP4E.shape == (2, len(GRID), 4, 6)
    for part, stride, strides_4 in zip(GRID.level_slices, GRID.strides, wanted, strict=True):
        expected = (stride * strides_4).expand_as(distances[:, part])
        torch.testing.assert_close(distances[:, part], expected, rtol=1e-5, atol=1e-4)


def test_levels_share_nothing_and_classes_share_the_tower_with_boxes() -> None:
    head = _head(convs=2, quality="implicit")
    outputs = head(_maps(), GRID)
    logits, distances, quality = outputs.logits_BPC, outputs.distances_BP4, outputs.quality_BP
    assert quality is not None
    first = GRID.level_slices[0]
    parameters = dict(head.named_parameters())
    for output, outs in ((logits, "class_outs"), (distances, "box_outs"), (quality, "quality_outs")):
        loss = output[:, first].square().sum()
        gradients = torch.autograd.grad(loss, list(parameters.values()), retain_graph=True, allow_unused=True)
        pairs = zip(parameters, gradients, strict=True)
        used = {tuple(name.split(".")[:2]) for name, g in pairs if g is not None and g.abs().sum() > 0}
        assert used == {("towers", "0"), (outs, "0")}


def test_the_tower_is_depthwise_separable() -> None:
    convs = [m for m in _head(convs=2).towers[0].modules() if isinstance(m, nn.Conv2d)]
    shapes = [(m.in_channels, m.out_channels, m.kernel_size[0], m.groups) for m in convs]
    assert shapes == [(8, 8, 5, 8), (8, 16, 1, 1), (16, 16, 5, 16), (16, 16, 1, 1)]


def test_huge_features_give_finite_boxes_within_reach() -> None:
    maps = [1e6 * map_ for map_ in _maps()]
    distances = _head(convs=0)(maps, GRID).distances_BP4
    assert distances.isfinite().all()
    assert (distances >= 0).all()
    assert (distances <= 7 * GRID.stride_P[:, None] * (1 + 1e-6)).all()


def test_half_precision_leaves_the_mean_of_a_distribution_exact() -> None:
    head = _head(quality="implicit").eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = head(_maps(), GRID)
    assert outputs.distribution_BP4E is not None
    mean = (outputs.distribution_BP4E.double().softmax(-1) * torch.arange(8)).sum(-1)
    expected = (mean * GRID.stride_P[:, None]).float()
    torch.testing.assert_close(outputs.distances_BP4, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "options", [{"quality": "iou"}, {"score": "sum"}, {"channels": 0}, {"convs": -1}, {"reg_max": 0}]
)
def test_errors(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"model\.head"):
        _head(**options)


def test_squeeze_weighs_channels_by_their_means() -> None:
    head = _head(squeeze=True).eval()
    squeeze = head.squeezes[0]
    assert isinstance(squeeze, Squeeze)
    nn.init.normal_(squeeze.weigh.weight)
    feature = torch.randn(2, 16, 3, 5)
    mean = feature.sum(dim=(2, 3)) / 15
    weight = 1 / (1 + torch.exp(-(mean @ squeeze.weigh.weight[..., 0, 0].T + squeeze.weigh.bias)))
    torch.testing.assert_close(squeeze(feature), squeeze.mix(feature * weight[:, :, None, None]))


def test_class_alignment_reads_the_tower_before_the_squeeze() -> None:
    """PicoDet of 2022: score sqrt(p a), classes and boxes behind the squeeze, the alignment a before it."""
    head = _head(squeeze=True, quality="implicit", score="geometric_mean").eval()
    maps = _maps()
    outputs = head(maps, GRID)
    assert head.quality_outs is not None
    tower = head.towers[1](maps[1])
    part = GRID.level_slices[1]
    alignment = head.quality_outs[1](tower)[:, 0].flatten(1)
    torch.testing.assert_close(outputs.quality_BP[:, part], alignment)
    squeezed = head.squeezes[1](tower)
    logits = head.class_outs[1](squeezed).flatten(2).transpose(1, 2)
    torch.testing.assert_close(outputs.logits_BPC[:, part], logits)
    score = (logits.sigmoid() * alignment.sigmoid()[..., None]).sqrt()
    torch.testing.assert_close(decode(outputs).scores_BPC[:, part], score)
    boxes = head.box_outs[1](squeezed).flatten(2).transpose(1, 2)
    torch.testing.assert_close(outputs.distribution_BP4E[:, part].flatten(2), boxes)
