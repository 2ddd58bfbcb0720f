"""What only a GPU can show: training, its continuation, evaluation, bfloat16, NCCL. Skipped without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from detector.decode import decode
from engine.evaluate import evaluate_checkpoint
from engine.setup import bf16, build_model
from engine.trainer import train
from tests.helpers.run_files import NAME
from tests.helpers.tiny_run import ROOT, TINY_RUN

Compose = Callable[..., DictConfig]
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
GPU = ("device=cuda", "precision=float32")


@pytest.mark.parametrize("assigner", ["atss", "simota", "tal", "o2f"])
def test_a_run_on_the_gpu_takes_the_steps_of_the_cpu(tiny_run: Compose, assigner: str) -> None:
    losses = []
    for device in ("cpu", "cuda"):
        words = (f"assigner={assigner}", "speed.tf32=none", "precision=float32", f"name={device}")
        config = tiny_run(*words, f"device={device}", "schedule.epochs=1", "max_steps=1")
        train(config)
        line = (Path(config.runs_dir) / device / "metrics.jsonl").read_text().splitlines()[0]
        losses.append(json.loads(line)["train/loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_a_cut_run_continues_and_is_evaluated(
    tiny_run: Compose, composed: Compose, stop_after: Callable[[int], None]
) -> None:
    config = tiny_run(*GPU)
    stop_after(4)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    value = train(config)
    directory = Path(config.runs_dir) / NAME
    assert torch.load(directory / "last.pt", weights_only=True)["step"] == 6
    again = evaluate_checkpoint(composed(f"run={directory}", "device=cuda", name="eval"))
    assert again == pytest.approx(value, abs=0.5)


@pytest.mark.parametrize(
    "words",
    [
        ("speed.compile=true",),
        ("speed.tf32=all", "speed.cudnn_benchmark=true", "speed.fused=true", "speed.recompute=true"),
        ("precision=bf16", "data.workers=1"),
        ("model=picodet_s", "model.backbone.weights=null"),
    ],
)
def test_the_switches_train(tiny_run: Compose, words: tuple[str, ...]) -> None:
    train(tiny_run("device=cuda", *words, "schedule.epochs=1"))


def test_bfloat16_moves_boxes_by_little(tiny_run: Compose) -> None:
    torch.manual_seed(0)
    model = build_model(tiny_run("model.head.channels=64", "model.neck.channels=64"), 3).cuda().eval()
    images = torch.randint(256, (4, 3, 128, 128), dtype=torch.uint8, device="cuda")
    with torch.inference_mode():
        exact = decode(model(images))
        with torch.autocast("cuda", torch.bfloat16):
            rounded = decode(model(images))
    sides = (exact.boxes_BP4[..., 2:] - exact.boxes_BP4[..., :2]).amin(-1, keepdim=True)
    assert ((rounded.boxes_BP4 - exact.boxes_BP4).abs() / sides).quantile(0.99) < 0.02
    assert (rounded.scores_BPC - exact.scores_BPC).abs().max() < 0.02
    assert rounded.boxes_BP4.dtype == torch.float32


def test_auto_asks_the_gpu_whether_it_has_bfloat16() -> None:
    native = torch.cuda.get_device_capability() >= (8, 0)
    assert bf16("auto", torch.device("cuda"), torch.nn.Identity()) == native


def test_one_rank_of_nccl(tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1"]
    words = [*TINY_RUN, "device=cuda", "debug=steps"]
    line = [*torchrun, str(ROOT / "train.py"), *words]
    result = subprocess.run(line, cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
