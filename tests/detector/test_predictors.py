"""Several predictors on one neck: what each of them sees, trains and leaves alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from detector.detector import Detector, TrainedPredictors, build_detector
from detector.summary import summary
from errors import UsageError

CONFIG = {
    "backbone": {"name": "lcnet_050"},
    "neck": {"kind": "csp_pan", "channels": 8},
    "head": {"kind": "pico", "channels": 8, "convs": 1, "quality": "none"},
}
IMAGES = torch.randint(0, 256, (2, 3, 64, 96), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def detector(gradient: float = 0.0, frozen: tuple[str, ...] = ()) -> Detector:
    torch.manual_seed(0)
    predictors = {"many": {}, "one": {"gradient": gradient, "head": {"quality": "implicit"}}}
    return build_detector({**CONFIG, "frozen": frozen}, 3, predictors)


def gradients(model: Detector, name: str) -> dict[str, float]:
    """The largest gradient in each part of the network from a loss on one predictor's outputs."""
    model.zero_grad()
    outputs = model.outputs(IMAGES)[name]
    (outputs.logits_BPC.sum() + outputs.distances_BP4.sum()).backward()
    found = {}
    for part in ("backbone", "neck", *model.predictors):
        values = [p.grad.abs().max() for p in model.get_submodule(part).parameters() if p.grad is not None]
        found[part] = max(map(float, values), default=0.0)
    return found


def test_the_detached_predictor_trains_itself_alone() -> None:
    model = detector().eval()
    one, many = gradients(model, "one"), gradients(model, "many")
    assert (one["backbone"], one["neck"], one["many"]) == (0, 0, 0)
    assert one["one"] > 0
    assert many["one"] == 0
    assert min(many["backbone"], many["neck"], many["many"]) > 0


def test_a_share_of_the_gradient_reaches_the_features() -> None:
    whole, tenth = (gradients(detector(gradient=share).eval(), "one") for share in (1.0, 0.1))
    assert tenth["neck"] == pytest.approx(0.1 * whole["neck"], rel=1e-3)
    assert tenth["backbone"] == pytest.approx(0.1 * whole["backbone"], rel=1e-3)
    assert tenth["one"] == pytest.approx(whole["one"], rel=1e-4)


def test_the_share_does_not_change_the_outputs() -> None:
    with torch.no_grad():
        first, second = (detector(gradient=share).eval().outputs(IMAGES)["one"] for share in (0.0, 0.3))
    torch.testing.assert_close(first.logits_BPC, second.logits_BPC)


@torch.no_grad()
def test_inference_runs_one_predictor_and_training_those_that_are_named() -> None:
    model = detector().eval()
    both = model.outputs(IMAGES)
    assert list(both) == ["many", "one"]
    assert (both["many"].quality_BP is None, both["one"].quality_BP is None) == (True, False)
    assert list(TrainedPredictors(model, ("one",))(IMAGES)) == ["one"]
    for name in ("one", "many"):
        model.use(name, None)
        assert torch.equal(model(IMAGES).logits_BPC, both[name].logits_BPC)
    model.one = nn.Identity()  # `many` is in use: nothing asks for the other one
    model(IMAGES)
    with pytest.raises(UsageError, match=r"eval\.predictor=few: the detector has many, one"):
        model.use("few", None)


def test_the_summary_counts_what_inference_uses() -> None:
    alone = build_detector(CONFIG, 3)
    assert summary(detector(), "x", 64, 64) == summary(alone, "x", 64, 64)


def test_a_frozen_part_takes_no_gradient_and_its_norms_stand_still() -> None:
    model = detector(frozen=("backbone", "neck", "many")).train()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    found = gradients(model, "one")
    assert [name for name, size in found.items() if size > 0] == ["one"]
    moved = {name for name, buffer in model.named_buffers() if not torch.equal(buffer, before[name])}
    assert moved
    assert all(name.startswith("one.") for name in moved)


@pytest.mark.parametrize(
    ("predictors", "frozen", "message"),
    [
        ({"one": {"gradient": 2}}, (), r"predictors\.one\.gradient=2 must lie in 0 to 1"),
        ({"one": {}}, ("head",), r"model\.frozen=\['head'\]: choose from backbone, neck, one"),
        ({"one": {"head": {"depth": 1}}}, (), r"model\.head has no depth"),
    ],
)
def test_wrong_predictors_are_refused(
    predictors: dict[str, dict[str, object]], frozen: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        build_detector({**CONFIG, "frozen": frozen}, 3, predictors)
