"""The training step of every assigner as a GPU would run it: where it waits, and what it computes."""

from pathlib import Path

import pytest
import torch

from tests.gpu_contract.device import CUDA
from tests.gpu_contract.steps import Step, batch
from tests.helpers.tiny_run import ROOT

ASSIGNERS = sorted(path.stem for path in Path(ROOT, "configs", "assigner").glob("*.yaml"))
# Waits of the assignment in one step. An assigner for two predictors, or that calls another one, has more.
LIMITS = {"atss": 4, "tal": 4, "o2f": 4, "fcos": 4, "simota": 12}
OTHERS = 16


@pytest.mark.parametrize("assigner", ASSIGNERS)
def test_a_step_waits_in_the_assignment_alone_and_gives_the_weights_of_the_cpu(assigner: str) -> None:
    on_device, on_cpu = Step(assigner, CUDA), Step(assigner, torch.device("cpu"))
    for progress in (0.0, 1.0, 1.0):
        counts = on_device(batch(), progress)
        on_cpu(batch(), progress)
        waiting = {part: dict(waits) for part, waits in counts.waits.items() if waits.total()}
        limit = LIMITS.get(assigner, OTHERS)
        assert sum(waiting.pop("assign").values()) <= limit, (assigner, counts.waits["assign"])
        assert not waiting
    # The steps before have uploaded what is kept: grids, constants.
    assert not counts.uploads
    expected = on_cpu.weights()
    for name, value in on_device.weights().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("assigner", ["atss", "tal", "o2f", "simota", "dual_o2f"])
def test_images_without_objects_wait_no_more(assigner: str) -> None:
    counts = Step(assigner, CUDA)(batch(objects=False), 0.5)
    assert {part for part, waits in counts.waits.items() if waits.total()} <= {"assign"}
    assert counts.waits["assign"].total() <= LIMITS.get(assigner, OTHERS)


@pytest.mark.parametrize("assigner", ["atss", "o2f"])
def test_ignored_crowd_regions_wait_for_the_points_inside_them(assigner: str) -> None:
    counts = Step(assigner, CUDA)(batch(crowd=True), 0.5)
    waiting = {part: waits.total() for part, waits in counts.waits.items() if waits.total()}
    assert waiting.pop("assign") <= LIMITS[assigner]
    # The enumeration of the pairs inside and `nonzero` of the points that are left.
    assert waiting.pop("decode, statistics and loss") <= 3
    assert not waiting
