"""Every head's output convolutions run in float32, whatever autocast does before them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from assigners.core.types import PointGrid
from detector.detector import Head
from detector.head.fcos import FcosHead
from detector.head.pico import PicoHead
from detector.head.task_aligned import TaskAlignedHead
from detector.outputs import QUALITIES

GRID = PointGrid.for_image(48, 80, (8, 16))


@pytest.mark.parametrize(
    ("make", "outs", "quality"),
    [
        *((make, outs, q) for make, outs in ((FcosHead, "out"), (PicoHead, "outs")) for q in QUALITIES),
        (TaskAlignedHead, "out", "implicit"),
    ],
)
def test_output_convolutions_do_not_round(make: Callable[..., Head], outs: str, quality: str) -> None:
    torch.manual_seed(0)
    head = make(8, 3, 2, channels=16, convs=1, quality=quality).eval()
    last: dict[str, nn.Conv2d] = {}  # of each output, the convolution that was registered last
    for name, module in head.named_modules():
        part = name.split(".")
        if isinstance(module, nn.Conv2d) and part[0].endswith(f"_{outs}"):
            last[".".join(part[: 2 if outs == "outs" else 1])] = module
    maps_of_a_level = (2 if quality == "none" else 3) + (make is TaskAlignedHead)
    assert len(last) == maps_of_a_level * (2 if outs == "outs" else 1)
    seen: list[tuple[nn.Conv2d, Tensor, Tensor]] = []
    for conv in last.values():
        conv.register_forward_hook(lambda conv, inputs, output: seen.append((conv, inputs[0], output)))
    maps = [torch.randn(2, 8, *shape) for shape in GRID.shapes]
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = head(maps, GRID)
    assert len(seen) == 2 * maps_of_a_level
    for conv, feature, output in seen:
        expected = conv2d(feature.float(), conv.weight, conv.bias, padding=conv.padding)
        assert output.dtype == torch.float32
        torch.testing.assert_close(output, expected, rtol=1e-6, atol=1e-6)
    predicted = (outputs.logits_BPC, outputs.distances_BP4, outputs.quality_BP, outputs.distribution_BP4E)
    assert all(tensor is None or tensor.dtype == torch.float32 for tensor in predicted)
