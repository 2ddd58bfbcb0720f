"""The script that times loading runs, small, and writes its table."""

import json
from pathlib import Path

import torch

from benchmarks.data import loading
from data.augment.transforms import eval_transform
from data.coco.dataset import CocoDataset
from data.loader import collate


def test_loading(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    loading.main(["images=2", "repeats=1", "sizes=[320]", f"out={tmp_path}"])
    torch.set_num_threads(threads)
    report = json.loads((tmp_path / "loading.json").read_text())
    rows = report["rows"]
    assert len(report["ratios"]) == len(rows) - len(loading.THEIRS)
    assert {row["name"] for row in rows} >= {*loading.THEIRS, "matchpoint", "matchpoint, draft"}
    assert all(row["images_per_second"] > 0 for row in rows)
    assert (tmp_path / "loading.md").read_text().count("\n| ") == len(rows) + 2


def test_both_pipelines_make_the_same_batch(tmp_path: Path) -> None:
    """Without a flip, theirs on tensors has our pixels; its padding is black."""
    loading.draw(tmp_path, 3)
    file = tmp_path / "annotations" / "instances_train2017.json"
    data = CocoDataset(tmp_path / "train2017", file, eval_transform(320, 320))
    theirs = loading.Theirs(data, 320, 320, pil=False)
    theirs.transform.transforms[1].p = 0.0
    batch = collate([data[row] for row in range(3)])
    rows, columns = batch.size_B2[0].tolist()
    found = theirs.batch(range(3))
    assert found.shape == batch.images_B3HW.shape
    assert torch.equal(found[..., :rows, :columns], batch.images_B3HW[..., :rows, :columns])
