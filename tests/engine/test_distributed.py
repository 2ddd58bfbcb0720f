"""Two processes on the CPU, by gloo, beside one process."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from engine import distributed
from engine.evaluate import evaluate_checkpoint
from engine.trainer import train
from errors import UsageError
from tests.helpers.run_files import GRADIENTS, SCALES, assert_same_run, lines, repeatable, same
from tests.helpers.tiny_run import ROOT, TINY_RUN

Compose = Callable[..., DictConfig]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """The directory of what two_ranks.py ran, and what each scenario came to on rank 0 and on rank 1."""
    directory = tmp_path_factory.mktemp("ranks")
    with_ports = [socket.create_server(("127.0.0.1", 0)) for _ in range(8)]
    ports = [str(server.getsockname()[1]) for server in with_ports]
    for server in with_ports:
        server.close()
    script = str(ROOT / "tests" / "helpers" / "two_ranks.py")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen(
            [sys.executable, script, str(rank), str(directory), *ports],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [process.communicate(timeout=600)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
    (directory / "said.json").write_text(json.dumps(said))
    return directory, [json.loads((directory / f"{rank}.json").read_text()) for rank in range(2)]


def both_trained(name: str, words: Sequence[str], directory: Path, tiny_run: Compose) -> Any:
    """The runs of one and of two processes, the weights that both began with, and those of each."""
    config = tiny_run(f"name={name}", *words)
    train(config)
    one, two = Path(config.runs_dir) / name, directory / name
    weights = (torch.load(path / "last.pt", weights_only=True)["model"] for path in (one, two))
    return one, two, initial_weights(config), *weights


def test_two_processes_take_the_step_of_one(
    ranks: tuple[Path, list[dict[str, Any]]], tiny_run: Compose
) -> None:
    one, two, before, *weights = both_trained("gradients", GRADIENTS, ranks[0], tiny_run)
    moved = 0
    for name, start in before.items():
        first, second = (weight[name] - start for weight in weights)
        torch.testing.assert_close(second, first, rtol=1e-3, atol=1e-5 * max(1.0, float(first.abs().max())))
        moved += bool(first.abs().max() > 0)
    assert moved > 60
    assert numbers(two) == pytest.approx(numbers(one), rel=1e-4)


def test_two_processes_learn_from_images_of_many_sizes_as_one(
    ranks: tuple[Path, list[dict[str, Any]]], tiny_run: Compose
) -> None:
    _, _, before, first, second = both_trained("scales", SCALES, ranks[0], tiny_run)
    difference = max(float((first[name] - second[name]).abs().max()) for name in before)
    moved = max(float((first[name] - before[name]).abs().max()) for name in before)
    assert difference < 1e-5 < 1e-3 < moved


def initial_weights(config: DictConfig) -> dict[str, torch.Tensor]:
    from engine.setup import build_dataset, build_model

    torch.manual_seed(config.seed)
    classes = len(build_dataset(config.data, "train", 0).class_names)
    return build_model(config, classes).state_dict()


def numbers(directory: Path) -> dict[str, Any]:
    """The first line, with losses and what the assigner did: of all images, on any number of ranks."""
    return {key: value for key, value in lines(directory)[0].items() if "seconds" not in key}


def test_a_static_graph_takes_the_same_steps(ranks: tuple[Path, list[dict[str, Any]]]) -> None:
    """The first step, too, in which DDP exchanges all gradients at the end."""
    files = (ranks[0] / name / "last.pt" for name in ("plain", "static"))
    plain, static = (torch.load(file, weights_only=True) for file in files)
    assert plain["step"] == 2
    assert same(static["model"], plain["model"])


def test_two_processes_evaluate_as_one(
    ranks: tuple[Path, list[dict[str, Any]]], composed: Compose, tmp_path: Path
) -> None:
    """5 images in batches of 2: rank 0 has two of the batches, rank 1 has one."""
    directory, outcomes = ranks
    words = (f"checkpoint={directory}/gradients/last.pt", f"out={tmp_path}", "device=cpu")
    assert evaluate_checkpoint(composed(*words, name="eval")) == outcomes[0]["evaluated"]
    found = json.loads((tmp_path / "predictions.json").read_text())
    assert len({row["image_id"] for row in found}) == 5
    for other in (directory / "evaluated", directory / "gradients"):
        for name in ("predictions.json", "predictions_nms.json"):
            assert json.loads((other / name).read_text()) == json.loads((tmp_path / name).read_text())
        results = [json.loads((path / "eval.json").read_text()) for path in (other, tmp_path)]
        for key in ("nms", "nms_free", "gap", "images", "unreadable"):
            assert results[0][key] == results[1][key]


def test_all_ranks_return_the_result_and_one_speaks(ranks: tuple[Path, list[dict[str, Any]]]) -> None:
    directory, (first, second) = ranks
    for name in ("gradients", "evaluated", "whole", "again", "continued"):
        assert first[name] == second[name]
    assert first["again"] == first["whole"]
    said = json.loads((directory / "said.json").read_text())
    assert said[0].count("whole is finished") == 1
    assert said[1] == ""


def test_a_signal_to_one_rank_stops_all_and_the_run_continues_bit_for_bit(
    ranks: tuple[Path, list[dict[str, Any]]],
) -> None:
    directory, (first, second) = ranks
    assert first["cut"].startswith("KeyboardInterrupt")
    assert second["cut"] == "SystemExit: 0"
    assert first["continued"] == first["whole"]
    assert_same_run(directory / "whole", directory / "cut")
    assert len(torch.load(directory / "cut" / "last.pt", weights_only=True)["random"]) == 2


def test_another_number_of_processes_may_continue(
    ranks: tuple[Path, list[dict[str, Any]]], tiny_run: Compose, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_run("name=for_one")
    directory = Path(shutil.copytree(ranks[0] / "for_one", Path(config.runs_dir) / "for_one"))
    assert torch.load(directory / "last.pt", weights_only=True)["batch"] == 2
    train(config)
    assert "1 processes in place of 2" in capsys.readouterr().out
    assert [line["step"] for line in repeatable(directory)] == [3, 6, 6]


def test_an_error_of_one_rank_ends_all_and_rank_0_tells(ranks: tuple[Path, list[dict[str, Any]]]) -> None:
    first, second = ranks[1]
    assert first["lost"] == "UsageError: no data set on the second machine"
    assert first["unequal"].startswith("UsageError: schedule.batch_size=5 is the batch of all 2 processes")
    assert first["unequal"].endswith("choose 4 or 6")
    assert "lower schedule.lr" in first["explodes"]
    assert {second[name] for name in ("lost", "unequal", "explodes")} == {"SystemExit: 0"}


def test_torchrun_trains_and_prints_one_table(tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    words = [*TINY_RUN, "debug=steps", "schedule.epochs=1"]
    line = [*torchrun, str(ROOT / "train.py"), *words]
    result = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("duplicates per object") == 1
    (directory,) = (tmp_path / "runs").iterdir()
    assert torch.load(directory / "last.pt", weights_only=True)["step"] == 2


def test_one_process_needs_no_group() -> None:
    distributed.join()
    assert (distributed.rank(), distributed.ranks(), distributed.is_main()) == (0, 1, True)
    assert distributed.gather("a") == ["a"]
    assert distributed.any_rank(False, True) == (False, True)
    assert distributed.on_main(lambda: 3) == 3
    model = torch.nn.Linear(1, 1)
    assert distributed.parallel(model, torch.device("cpu")) is model
    with pytest.raises(UsageError, match="mine"), distributed.agreed():
        raise UsageError("mine")
    with pytest.raises(KeyboardInterrupt):
        distributed.end(KeyboardInterrupt())


@pytest.mark.parametrize(("batch_size", "near"), [(5, "3 or 6"), (1, "3"), (16, "15 or 18")])
def test_a_batch_that_cannot_be_shared(monkeypatch: pytest.MonkeyPatch, batch_size: int, near: str) -> None:
    monkeypatch.setattr(distributed, "ranks", lambda: 3)
    assert distributed.share(12) == 4
    with pytest.raises(UsageError, match=f"schedule.batch_size={batch_size} .* choose {near}$"):
        distributed.share(batch_size)
