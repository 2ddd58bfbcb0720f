from __future__ import annotations

import pytest
from torch import nn
from torch.optim import SGD, AdamW

from engine.schedule import build_optimizer, learning_rate_factor, progress
from errors import UsageError

COSINE = {"epochs": 10, "warmup_steps": 20, "decay": "cosine", "milestones": [], "decay_epochs": None}
STEP = {"epochs": 12, "warmup_steps": 5, "decay": "step", "milestones": [8, 11], "decay_epochs": None}


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


def test_progress_goes_from_the_first_epoch_to_the_last() -> None:
    assert [progress(epoch, 5) for epoch in range(5)] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert progress(0, 1) == 0.0


def test_the_rate_warms_up_linearly() -> None:
    factor = learning_rate_factor(STEP, 100)
    assert factor(0) == pytest.approx(0.001)
    assert factor(2) == pytest.approx(0.001 + 0.999 * 2 / 5)
    assert factor(5) == 1.0
    assert learning_rate_factor({**STEP, "warmup_steps": 0}, 100)(0) == 1.0


def test_warm_up_takes_at_most_half_of_a_short_run() -> None:
    factor = learning_rate_factor({**COSINE, "warmup_steps": 1000}, 10)
    assert factor(50) == 1.0
    assert factor(49) < 1.0


def test_a_longer_cosine_is_cut_off() -> None:
    """PicoDet-M and L train 250 epochs of a cosine of 300."""
    cut, whole = (learning_rate_factor({**COSINE, **e}, 100) for e in ({"decay_epochs": 12}, {"epochs": 12}))
    assert [cut(step) for step in (0, 10, 500, 999)] == [whole(step) for step in (0, 10, 500, 999)]
    assert cut(999) > learning_rate_factor(COSINE, 100)(999)


def test_cosine_ends_at_zero() -> None:
    factor = learning_rate_factor(COSINE, 100)
    assert factor(20) == 1.0
    assert factor(20 + 490) == pytest.approx(0.5)
    assert 0 <= factor(999) < 1e-4
    assert factor(1000) == pytest.approx(0.0, abs=1e-9)
    assert all(factor(step) >= factor(step + 1) for step in range(20, 1000))


def test_step_decay_divides_by_ten_at_each_milestone() -> None:
    factor = learning_rate_factor(STEP, 100)
    steps = (799, 800, 1099, 1100, 1199)
    assert [factor(step) for step in steps] == pytest.approx([1.0, 0.1, 0.1, 0.01, 0.01])


def test_an_unknown_decay_or_optimizer_is_named() -> None:
    with pytest.raises(UsageError, match=r"schedule\.decay.*linear"):
        learning_rate_factor({**COSINE, "decay": "linear"}, 10)
    with pytest.raises(UsageError, match=r"schedule\.optimizer.*lion"):
        build_optimizer(network(), {"optimizer": "lion", "lr": 1.0, "momentum": 0.9, "weight_decay": 0.1})


@pytest.mark.parametrize(("name", "kind"), [("sgd", SGD), ("adamw", AdamW)])
def test_norms_and_biases_are_not_decayed_and_frozen_parameters_are_left_out(name: str, kind: type) -> None:
    model = network()
    model[0].weight.requires_grad_(False)
    schedule = {"optimizer": name, "lr": 0.1, "momentum": 0.8, "weight_decay": 0.02}
    optimizer = build_optimizer(model, schedule)
    assert isinstance(optimizer, kind)
    decayed, plain = optimizer.param_groups
    assert [p is model[2].weight for p in decayed["params"]] == [True]
    assert {id(p) for p in plain["params"]} == {
        id(p) for p in (model[0].bias, model[1].weight, model[1].bias, model[2].bias)
    }
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.02, 0.0)
    assert decayed["lr"] == 0.1
    assert decayed.get("momentum", 0.8) == 0.8


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_the_update_is_fused_on_a_cpu_alone_unless_it_is_asked_for(name: str) -> None:
    """fused=False would be a kernel for every tensor on a GPU, where torch's default is one for many."""
    schedule = {"optimizer": name, "lr": 0.1, "momentum": 0.8, "weight_decay": 0.02}
    elsewhere = build_optimizer(network().to("meta"), schedule).param_groups[0]
    assert (elsewhere["fused"], elsewhere["foreach"]) == (None, None)
    for asked in (False, True):
        assert build_optimizer(network(), schedule, asked).param_groups[0]["fused"] is True
