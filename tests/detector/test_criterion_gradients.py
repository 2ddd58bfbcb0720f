"""Gradients of the criterion: finite for any logits and for batches without positives."""

import pytest
import torch
from torch import nn

from detector.criterion import CLASSIFICATION, Criterion
from detector.detector import build_detector
from detector.head.pico import PicoHead
from detector.outputs import Outputs
from tests.helpers.criterion_case import ASSIGNMENT, GRID, NO_TRUTH, NOTHING, TRUTH, small_outputs


@pytest.mark.parametrize("quality", ["none", "centerness", "implicit"])
@pytest.mark.parametrize("empty", [True, False])
def test_every_parameter_gets_a_finite_gradient(quality: str, empty: bool) -> None:
    torch.manual_seed(0)
    detector = build_detector(
        {
            "backbone": {"name": "lcnet_050"},
            "neck": {"channels": 8, "extra_levels": 1},
            "head": {"channels": 8, "convs": 1, "quality": quality},
        },
        3,
    )
    outputs = detector(torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8))
    criterion = Criterion("soft_focal", box_weight="centerness", quality=quality)
    losses = criterion(outputs, *((NO_TRUTH, NOTHING) if empty else (TRUTH, ASSIGNMENT)))
    sum(losses.values(), torch.zeros(())).backward()
    for name, parameter in detector.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert isinstance(detector.head.class_out, nn.Conv2d)
    assert detector.head.class_out.weight.grad.abs().sum() > 0
    assert (losses["box"] == 0) == empty
    assert (detector.head.box_out.weight.grad.abs().sum() == 0) == empty


@pytest.mark.parametrize("quality", ["none", "centerness", "implicit"])
@pytest.mark.parametrize("empty", [True, False])
def test_every_parameter_of_picodet_gets_a_finite_gradient(quality: str, empty: bool) -> None:
    torch.manual_seed(0)
    config = {
        "backbone": {"name": "lcnet_050"},
        "neck": {"kind": "csp_pan", "channels": 8},
        "head": {"kind": "pico", "channels": 8, "convs": 1, "quality": quality},
    }
    detector = build_detector(config, 3)
    outputs = detector(torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8))
    criterion = Criterion("varifocal", box_weight="score", normalizer="scores", quality=quality)
    losses = criterion(outputs, *((NO_TRUTH, NOTHING) if empty else (TRUTH, ASSIGNMENT)))
    assert (losses["dfl"] == 0) == (losses["box"] == 0) == empty
    sum(losses.values(), torch.zeros(())).backward()
    for name, parameter in detector.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert isinstance(detector.head, PicoHead)
    gradient = sum(out.weight.grad.abs().sum() for out in detector.head.box_outs)
    assert (gradient == 0) == empty


@pytest.mark.parametrize("logit", [-100.0, 100.0])
@pytest.mark.parametrize("name", list(CLASSIFICATION))
@pytest.mark.parametrize("quality", ["none", "implicit"])
def test_extreme_logits_give_finite_gradients(name: str, logit: float, quality: str) -> None:
    plain = small_outputs(quality != "none")
    logits = torch.full_like(plain.logits_BPC, logit).requires_grad_()
    branch = None if plain.quality_BP is None else torch.full_like(plain.quality_BP, -logit).requires_grad_()
    losses = Criterion(name, quality=quality)(
        Outputs(GRID, logits, plain.distances_BP4, branch), TRUTH, ASSIGNMENT
    )
    losses["cls"].backward()
    assert losses["cls"].isfinite()
    for leaf in (logits, branch):
        if leaf is not None:
            assert leaf.grad is not None
            assert leaf.grad.isfinite().all()


def test_gradient_at_a_positive_is_the_positive_term_alone() -> None:
    outputs = small_outputs(False)
    outputs.logits_BPC.requires_grad_()
    Criterion("soft_focal")(outputs, TRUTH, ASSIGNMENT)["cls"].backward()
    at = (ASSIGNMENT.image_K, ASSIGNMENT.point_K, TRUTH.labels_G[ASSIGNMENT.truth_K])
    # derivative of w BCE(sigmoid(x), t) is w (sigmoid(x) - t)
    p = outputs.logits_BPC.detach()[at].sigmoid()
    expected = ASSIGNMENT.weight_K * (p - ASSIGNMENT.score_K) / 4
    assert outputs.logits_BPC.grad is not None
    torch.testing.assert_close(outputs.logits_BPC.grad[at], expected, rtol=1e-4, atol=1e-6)
