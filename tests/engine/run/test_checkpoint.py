from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from engine.run import checkpoint
from errors import UsageError


def state(**values: Any) -> dict[str, Any]:
    """A checkpoint with what every one holds."""
    return {"config": {}, "classes": [], "epoch": 0, "weights": {}, **values}


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "last.pt"
    saved = state(config={"a": [1, None, "x"]}, weights={"w": torch.randn(3)}, step=7)
    checkpoint.save(file, saved)
    loaded = checkpoint.load(file)
    assert loaded["config"]["a"] == [1, None, "x"]
    assert loaded["step"] == 7
    assert torch.equal(loaded["weights"]["w"], saved["weights"]["w"])
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_a_crash_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "last.pt"
    checkpoint.save(file, state(step=1))

    def crash(content: object, stream: object) -> None:
        stream.write(b"half")  # type: ignore[attr-defined]
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", crash)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(file, state(step=2))
    assert checkpoint.load(file)["step"] == 1


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent/last\.pt.*runs_dir"):
        checkpoint.save(tmp_path / "absent" / "last.pt", {"config": {}})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no checkpoint at .*none\.pt.*checkpoint=FILE"):
        checkpoint.load(tmp_path / "none.pt")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"hello world\n", b"\x80\x02]q\x00.", bytes(200)])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "bad.pt"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=r"bad\.pt"):
        checkpoint.load(file)


def test_half_a_checkpoint_is_named(tmp_path: Path) -> None:
    file = tmp_path / "cut.pt"
    checkpoint.save(file, {"config": {}, "weights": torch.randn(1000)})
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(UsageError, match=r"cut\.pt cannot be read.*damaged"):
        checkpoint.load(file)


def test_files_of_others_are_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    with pytest.raises(UsageError, match=r"other\.pt is not a checkpoint of this project"):
        checkpoint.load(tmp_path / "other.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"version": 2},
            r"checkpoint of format 2, written by a later version.*knows 1.*update",
        ),
        ({"version": 1, "weights": {}}, r"earlier version, it lacks classes, epoch: train anew"),
    ],
)
def test_other_versions_are_refused_with_the_remedy(
    tmp_path: Path, content: dict[str, Any], message: str
) -> None:
    torch.save({"config": {}, **content}, tmp_path / "last.pt")
    with pytest.raises(UsageError, match=rf"last\.pt .*{message}"):
        checkpoint.load(tmp_path / "last.pt")


def test_loading_runs_no_code(tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (Path(tmp_path / "executed"),)  # type: ignore[return-value]

    (tmp_path / "evil.pt").write_bytes(pickle.dumps({"version": 1, "config": Touch()}, protocol=2))
    with pytest.raises(UsageError, match=r"evil\.pt"):
        checkpoint.load(tmp_path / "evil.pt")
    assert not (tmp_path / "executed").exists()


def test_weights_that_do_not_fit_are_listed_and_nothing_is_loaded(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    before = model[1].bias.clone()
    one = torch.ones(1)
    weights = {"0.weight": torch.ones(3, 5), "1.weight": torch.ones(1, 3), "1.bias": one, "new": one}
    with pytest.raises(UsageError) as info:
        checkpoint.load_weights(model, weights, tmp_path / "a.pt")
    message = str(info.value)
    for part in ("a.pt", "3 tensors", "missing 0.bias", "unknown new", "0.weight is (3, 5)", "(3, 2)"):
        assert part in message
    assert torch.equal(model[1].bias, before)


def test_weights_that_fit_are_loaded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source, target = nn.Linear(2, 3), nn.Linear(2, 3)
    checkpoint.load_weights(target, source.state_dict(), tmp_path / "a.pt")
    assert torch.equal(source.weight, target.weight)


def test_the_generators_go_on_where_they_were() -> None:
    torch.manual_seed(5)
    state = checkpoint.random_state()
    drawn = torch.rand(4)
    checkpoint.restore_random_state(state)
    assert torch.equal(torch.rand(4), drawn)
