"""The weights that a run starts from: what fits comes over, the classes go by name, the rest is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from engine.initial_weights import start_from
from engine.run import checkpoint
from engine.setup import build_model
from engine.trainer import Trainer, train
from errors import UsageError

Compose = Callable[..., DictConfig]
TINY_COCO_CLASSES = ("car", "train", "toothbrush")


def saved(path: Path, config: DictConfig, classes: Sequence[str], seed: int = 1) -> dict[str, Tensor]:
    """The weights of a detector of `classes`, written to `path` as a run would."""
    torch.manual_seed(seed)
    weights = build_model(config, len(classes)).state_dict()
    # A new detector is all zeros in its biases and equal in its norms: here every tensor is its own.
    for value in weights.values():
        if value.is_floating_point():
            value.add_(torch.rand_like(value))
    facts = {"config": OmegaConf.to_container(config, resolve=True), "classes": list(classes), "epoch": 7}
    checkpoint.save(path, {**facts, "weights": weights})
    return weights


@pytest.mark.parametrize(
    ("before", "now", "kept"),
    [
        (["a", "b", "c"], ["a", "b", "c"], {0: 0, 1: 1, 2: 2}),
        (["a", "b", "c"], ["c", "a", "b"], {0: 2, 1: 0, 2: 1}),
        (["a", "b", "c"], ["b"], {0: 1}),
        (["a", "b", "c"], ["x", "b", "y", "z"], {1: 1}),
        (["a", "b", "c"], ["x", "y", "z"], {}),
    ],
)
def test_classes_keep_their_rows_by_name_and_all_else_comes_over(
    tiny_run: Compose, tmp_path: Path, before: list[str], now: list[str], kept: dict[int, int]
) -> None:
    config = tiny_run()
    theirs = saved(tmp_path / "last.pt", config, before)
    torch.manual_seed(2)
    model = build_model(config, len(now))
    fresh = {name: value.clone() for name, value in model.state_dict().items()}
    message = start_from(tmp_path / "last.pt", model, now)
    for name, value in model.state_dict().items():
        if name in ("head.class_out.weight", "head.class_out.bias"):
            for row in range(len(now)):
                expected = theirs[name][kept[row]] if row in kept else fresh[name][row]
                assert torch.equal(value[row], expected), (name, row)
        else:
            assert torch.equal(value, theirs[name]), name
    assert "last.pt" in message
    assert "epoch 7" in message
    assert ("head.class_out.weight and head.class_out.bias" in message) == (before != now)
    assert all(name in message for row, name in enumerate(now) if row not in kept)


def test_picodet_has_class_outputs_in_every_level(tiny_run: Compose, tmp_path: Path) -> None:
    config = tiny_run("model=picodet_s")
    theirs = saved(tmp_path / "last.pt", config, ["a", "b"])
    model = build_model(config, 3)
    start_from(tmp_path / "last.pt", model, ["x", "b", "a"])
    own = model.state_dict()
    outputs = [name for name in own if name.startswith("head.class_outs.")]
    assert len(outputs) == 2 * len(model.strides)
    assert all(torch.equal(own[name][[2, 1]], theirs[name]) for name in outputs)
    assert all(torch.equal(own[name], theirs[name]) for name in own if name not in outputs)


def test_a_model_of_another_kind_is_refused_and_left_as_it_was(tiny_run: Compose, tmp_path: Path) -> None:
    saved(tmp_path / "last.pt", tiny_run("assigner=atss", "model.head.convs=2"), ["a", "b"])
    model = build_model(tiny_run(), 3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(UsageError) as info:
        start_from(tmp_path / "last.pt", model, ["a", "b", "x"])
    for part in ("last.pt does not fit", "missing head.quality_out", "model=fcos_lcnet assigner=atss"):
        assert part in str(info.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_class_outputs_of_another_width_are_listed(tiny_run: Compose, tmp_path: Path) -> None:
    saved(tmp_path / "last.pt", tiny_run("model.head.channels=32"), ["a", "b"])
    with pytest.raises(UsageError, match=r"does not fit the model, \d+ tensors"):
        start_from(tmp_path / "last.pt", build_model(tiny_run(), 1), ["a"])


def test_a_file_that_is_missing_or_no_checkpoint_is_named(tiny_run: Compose, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"init=.*none\.pt: no such file.*last\.pt or best\.pt"):
        start_from(tmp_path / "none.pt", build_model(tiny_run(), 1), ["a"])
    (tmp_path / "bad.pt").write_bytes(b"half")
    with pytest.raises(UsageError, match=r"bad\.pt cannot be read"):
        start_from(tmp_path / "bad.pt", build_model(tiny_run(), 1), ["a"])


@pytest.fixture
def shapes_run(tiny_run: Compose) -> Path:
    """The last checkpoint of a run on shapes."""
    config = tiny_run("name=shapes")
    train(config)
    return Path(config.runs_dir) / "shapes" / "last.pt"


def test_a_run_starts_from_a_run_on_other_classes(
    shapes_run: Path, coco_run: Compose, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Tensor]] = []
    original = Trainer._train_batch

    def note(self: Trainer, *arguments: object, **words: object) -> object:
        if not seen:
            seen.append({name: value.clone() for name, value in self.state.model.state_dict().items()})
            seen.append({k: v.clone() for k, v in self.state.result_model.state_dict().items()})
        return original(self, *arguments, **words)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "_train_batch", note)
    # Weights that cannot be had show that none are asked for.
    config = coco_run(f"init={shapes_run}", "model.backbone.weights=absent.pth", "schedule.ema=0.9")
    train(config)
    told = capsys.readouterr().out
    assert "starting from" in told
    assert "head.class_out.weight and head.class_out.bias" in told
    assert f"3 start anew ({', '.join(TINY_COCO_CLASSES)})" in told
    theirs = checkpoint.load(shapes_run)["weights"]
    for weights in seen:  # the weights and their average
        for name, value in weights.items():
            if name.startswith("head.class_out"):
                assert value.shape[0] == 3
            else:
                assert torch.equal(value, theirs[name]), name
    state = checkpoint.load(Path(config.runs_dir) / config.name / "last.pt")
    assert state["config"]["init"] == str(shapes_run)
    assert state["config"]["model"]["backbone"]["weights"] == "absent.pth"


def test_a_run_that_is_continued_goes_on_with_its_own_weights(
    shapes_run: Path, coco_run: Compose, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = coco_run(f"init={shapes_run}", "name=cut")
    original = Trainer._train_batch

    def cut(self: Trainer, *arguments: object, **words: object) -> object:
        self.interruption.asked = True
        return original(self, *arguments, **words)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_batch", cut)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    shapes_run.unlink()
    capsys.readouterr()
    train(config)
    told = capsys.readouterr().out
    assert "continuing" in told
    assert "starting from" not in told


def test_another_start_is_another_run(shapes_run: Path, coco_run: Compose) -> None:
    train(coco_run("name=one", "max_steps=1"))
    with pytest.raises(UsageError, match=r"init: None in the run, .*last\.pt asked for"):
        train(coco_run("name=one", "max_steps=1", f"init={shapes_run}"))
