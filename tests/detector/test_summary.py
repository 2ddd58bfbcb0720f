"""Counting a detector's size: right, and without a trace."""

import re

import pytest
import torch

from detector.detector import Detector, build_detector
from detector.summary import multiply_adds, parameters, summary


def _detector(**head: object) -> Detector:
    torch.manual_seed(0)
    config = {"backbone": {"name": "lcnet_050"}, "neck": {"channels": 8}, "head": {"channels": 8, **head}}
    return build_detector(config, 3)


def test_counts_a_head_as_one_does_by_hand() -> None:
    """Of two heads that differ by one 3x3 convolution and GroupNorm in each of two towers."""
    short, long = _detector(convs=1), _detector(convs=2)
    assert parameters(long) - parameters(short) == 2 * (9 * 8 * 8 + 2 * 8)
    points = 8 * 12 + 4 * 6 + 2 * 3
    assert multiply_adds(long, 64, 96) - multiply_adds(short, 64, 96) == 2 * points * 9 * 8 * 8


def test_images_are_padded_as_the_loader_does() -> None:
    detector = _detector(convs=1)
    assert multiply_adds(detector, 33, 65) == multiply_adds(detector, 64, 96)


@pytest.mark.parametrize("training", [True, False])
def test_leaves_no_trace(training: bool) -> None:
    detector = _detector(kind="pico", convs=1).train(training)
    before = {key: value.clone() for key, value in detector.state_dict().items()}
    random = torch.get_rng_state()
    multiply_adds(detector, 64, 64)
    assert detector.training == training
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[key]) for key, value in detector.state_dict().items())
    assert next(detector.parameters()).device.type == "cpu"


def test_one_line() -> None:
    line = summary(_detector(convs=1), "small", 320, 320)
    assert re.fullmatch(
        r"small: 0\.28 M parameters, 0\.\d\d G multiply-adds \(0\.\d\d GFLOPs\) at 320x320 px", line
    )
