"""The benchmark of the runtimes, tiny: each has its row, and what it times gives the same detections."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from benchmarks.inference import deploy
from detector.decode import decode
from detector.export.onnx_nms import nms_model
from detector.select import Detections, best_candidates, suppress
from detector.trained import read_checkpoint
from inference.record import Selection
from tests.helpers.apart import in_fresh_process
from tests.helpers.exported import batches, exported, trained
from tests.helpers.parity import Agreement, compare


@pytest.fixture
def threads() -> Iterator[None]:
    """Puts back the number of threads that a benchmark sets."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_row_for_each_runtime(tmp_path: Path) -> None:
    words = ["size=64", "threads=[1]", "candidates=[3,8]", "above=20", "repeats=1", f"out={tmp_path}"]
    in_fresh_process(timed, [f"checkpoint={trained('centerness')[0]}", *words])
    report = json.loads((tmp_path / "deploy.json").read_text())
    assert all(ratio > 0 for ratio in report["ratios"].values())
    runtimes = ["ONNX Runtime", *(["OpenVINO"] if find_spec("openvino") else [])]
    assert [row["runtime"] for row in report["rows"]] == ["torch eager", *runtimes]
    assert [list(row) for row in report["nms"]] == [["candidates", "torch", *runtimes]] * 2
    assert all(row["topk"] > 0 and row["nms"] > 0 for row in report["rows"])
    assert (tmp_path / "deploy.md").read_text().count("\n| ") == 4 + len(report["rows"]) + 2


def timed(words: list[str]) -> None:
    """The benchmark with files that other tests have exported, too; export.py has tests of its own."""
    deploy.export_onnx = lambda network, record, cut, path: shutil.copy(
        exported("centerness", cut).file, path
    )
    deploy.main(words)


def test_without_openvino(tmp_path: Path, threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploy, "find_spec", lambda name: None)
    one, images_B3HW = exported("centerness", "topk"), batches(1)[0]
    for name in ("topk", "nms"):
        shutil.copy(one.file, tmp_path / f"{name}.onnx")
    calls = deploy.runtimes(one.network, one.record, images_B3HW, tmp_path, 1)
    assert {runtime for runtime, _ in calls} == {"torch eager", "ONNX Runtime"}
    assert list(deploy.nms_rows(deploy.Options("", candidates=[3], repeats=1))[0])[1:] == [
        "torch",
        "ONNX Runtime",
    ]


def test_the_threshold_lets_so_many_candidates_pass() -> None:
    _, network, record = trained("fcos")
    images_B3HW = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64), dtype=np.uint8)
    score = deploy.with_candidates(network, record, images_B3HW, 30).selection.score
    with torch.no_grad():
        scores_BPC = decode(network(torch.from_numpy(images_B3HW))).scores_BPC
    assert int((scores_BPC > score).sum()) == 60


@pytest.mark.skipif(not find_spec("openvino"), reason="needs the extra `export`")
def test_openvino_selects_what_the_checkpoint_does() -> None:
    one = exported("centerness", "topk")
    assert min(in_fresh_process(pairs_in_openvino, one.checkpoint, one.file)) > 20


def pairs_in_openvino(checkpoint: Path, file: Path) -> list[int]:
    """How many detections of each of two batches were compared with the checkpoint's."""
    network, record = read_checkpoint(checkpoint)
    call, found = deploy.compiled(onnx.load(file), 1), []
    for images_B3HW in batches(1)[:2]:
        size_B2 = np.array([images_B3HW.shape[2:]] * len(images_B3HW))
        inputs, done = {"images": images_B3HW, "sizes": size_B2}, Agreement()
        compare(network.eval(), record, lambda _, i=inputs: tuple(call(i)), images_B3HW, done)
        found.append(done.pairs)
    return found


def test_nms_alone_keeps_what_torch_keeps() -> None:
    import onnxruntime

    selection = Selection("nms", 0.05, 1000, deploy.LIMIT, 0.2)
    versions = {"opset_imports": [onnx.helper.make_opsetid("", deploy.OPSET)], "ir_version": 10}
    model = nms_model(selection, **versions)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    grid, predictions = deploy.draw(1, 100)
    found = best_candidates(predictions, grid)[0]
    kept: Detections = suppress(found, 0.2)
    boxes, scores, labels = session.run(None, deploy.as_points(found))
    assert int((scores > 0).sum()) == len(kept) < len(found)
    assert np.array_equal(labels[0, : len(kept)], kept.labels_N.numpy())
    assert np.array_equal(boxes[0, : len(kept)], kept.boxes_N4.numpy())
