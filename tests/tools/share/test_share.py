"""The folder of a run: what it holds, that it loads, and where it goes."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import ModelCard, constants

from data.shapes.dataset import ShapesDataset
from detector import load
from detector.trained import read_state
from engine.run import checkpoint
from errors import UsageError
from tests.helpers.same_rows import assert_same_rows
from tools.compare.runs import read
from tools.share.__main__ import Options, main, share, without_places
from tools.share.card import card

FILES = ["README.md", "config.yaml", "model.safetensors"]


@pytest.fixture(scope="module")
def folder(whole: tuple[Path, float], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the tool makes of the run `whole`."""
    return share(Options(str(whole[0]), str(tmp_path_factory.mktemp("shared") / "new")))


def test_the_folder_predicts_what_the_checkpoint_does(whole: tuple[Path, float], folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == FILES
    models = [load(path, "cpu") for path in (folder, whole[0] / "last.pt")]
    assert models[0].record == models[1].record
    compared = 0
    for sample in ShapesDataset(4, 64, seed=0):
        found, expected = (model.predict(sample.image.permute(1, 2, 0).numpy(), score=0) for model in models)
        assert np.array_equal(found.boxes_N4, expected.boxes_N4)
        assert np.array_equal(found.scores_N, expected.scores_N)
        assert np.array_equal(found.labels_N, expected.labels_N)
        compared += len(found)
    assert compared > 100


def test_its_rows_are_those_of_the_evaluation(whole: tuple[Path, float], folder: Path) -> None:
    truth = ShapesDataset(4, 64, seed=0)
    ids = [image["id"] for image in truth.coco_json()["images"]]
    images = [sample.image.permute(1, 2, 0).numpy() for sample in truth]
    found = load(folder, "cpu").predict(images, select="topk")
    rows = [row for one, number in zip(found, ids, strict=True) for row in one.coco(number)]
    assert_same_rows(rows, json.loads((whole[0] / "predictions.json").read_text()))


def test_the_card_says_what_was_measured(whole: tuple[Path, float]) -> None:
    finished = read(whole[0])
    numbers = {"nms": {"AP": 41.25, "duplicate_rate": 0.02}, "nms_free": {"AP": 38.5, "duplicate_rate": 0.31}}
    result = finished.result | {name: finished.result[name] | own for name, own in numbers.items()}
    made = card(replace(finished, result=result), read_state(whole[0] / "last.pt"), "mit", None)
    found = ModelCard(str(made))
    values = {one.metric_name: one.metric_value for one in found.data.eval_results}
    assert values == {"AP, NMS": 41.25, "AP, NMS-free": 38.5}
    assert found.data.license == "mit"
    lines = found.text.splitlines()
    for line in ("| AP | 41.25 | 38.50 |", "| duplicates per object | 0.02 | 0.31 |"):
        assert line in lines
    for name in ShapesDataset.class_names:
        assert sum(line.startswith(f"| {name} | ") for line in lines) == 1
    assert any(line.startswith("python train.py ") and "data.images.train=12" in line for line in lines)
    assert "there are 0.31 duplicates per object, with NMS 0.02" in found.text
    assert "Weights: mit." in found.text
    assert "DIR is the folder of the data" not in found.text  # shapes are drawn


def test_no_folder_of_this_machine_is_published(whole: tuple[Path, float], folder: Path) -> None:
    for name in ("README.md", "config.yaml"):
        assert str(whole[0].parent) not in (folder / name).read_text()
    found = without_places(
        {"runs_dir": "/a/runs", "init": "/a/b.pt", "model": {"backbone": {"weights": "imagenet"}},
         "data": {"root": "/a/data", "val": {"images": "/a/val", "annotations": "own/val.json"}}}
    )  # fmt: skip
    assert "/a" not in json.dumps(found)
    assert found["data"]["val"]["annotations"] == "own/val.json"
    assert found["model"]["backbone"]["weights"] == "imagenet"


ADDRESS = "https://huggingface.co/someone/shapes"


class Hub(BaseHTTPRequestHandler):
    """The part of the hub's interface that an upload of small files uses."""

    files: dict[str, bytes]
    token: str

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.__class__.token = self.headers.get("Authorization", "")
        if self.path == "/api/models/someone/shapes/preupload/main":
            asked = json.loads(body)["files"]
            answer: Any = {
                "files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked]
            }
        elif self.path == "/api/models/someone/shapes/commit/main":
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            answer = {
                "commitUrl": "https://huggingface.co/someone/shapes/commit/1",
                "commitOid": "1",
                "success": True,
            }
        elif self.path == "/api/repos/create":
            answer = {"url": ADDRESS}
        elif self.path == "/api/validate-yaml":
            answer = {"errors": [], "warnings": []}
        else:
            return self.send_error(403)
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    Hub.files, Hub.token = {}, ""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    yield Hub
    server.shutdown()
    server.server_close()


def test_push_uploads_the_three_files(
    whole: tuple[Path, float], hub: type[Hub], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("stays here")
    main([f"run={whole[0]}", f"out={tmp_path}", "push=someone/shapes", "license=mit"])
    assert sorted(hub.files) == FILES
    assert hub.token == "Bearer hf_of_a_test"
    assert all(content == (tmp_path / name).read_bytes() for name, content in hub.files.items())
    card = hub.files["README.md"].decode()
    assert 'load(snapshot_download("someone/shapes"))' in card
    assert "license: mit" in card
    assert "uploaded: " in capsys.readouterr().out


def test_a_refused_upload_leaves_the_folder(
    whole: tuple[Path, float], hub: type[Hub], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"push=nobody/else failed \(.*403.*\): .* is complete, try again"):
        share(Options(str(whole[0]), str(tmp_path), push="nobody/else"))
    load(tmp_path, "cpu")


def test_push_without_a_token_says_how_before_anything_is_written(
    whole: tuple[Path, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(tmp_path / "none either"))
    with pytest.raises(UsageError, match=r"push=someone/shapes needs a token .* `hf auth login` .* HF_TOKEN"):
        share(Options(str(whole[0]), str(tmp_path / "new"), push="someone/shapes"))
    assert not (tmp_path / "new").exists()
    for name in ("shapes", "a/b/c", "a/..b"):
        with pytest.raises(UsageError, match="must be USER/NAME"):
            share(Options(str(whole[0]), str(tmp_path / "new"), push=name))


def test_runs_that_cannot_be_shared(whole: tuple[Path, float], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"lacks predictions_nms\.json"):
        share(Options(str(tmp_path), str(tmp_path / "new")))
    with pytest.raises(UsageError, match="is the directory of a run: choose another folder"):
        share(Options(str(whole[0]), str(whole[0])))
    run = tmp_path / "run"
    run.mkdir()
    for path in whole[0].iterdir():
        if path.name != "last.pt":
            os.symlink(path, run / path.name)
    state = torch.load(whole[0] / "last.pt", weights_only=True)
    checkpoint.save(run / "last.pt", state | {"epoch": 1})
    with pytest.raises(UsageError, match=r"is of epoch 1, eval.json .* of epoch 2: python eval.py run="):
        share(Options(str(run), str(tmp_path / "new")))
    del state["record"]
    checkpoint.save(run / "last.pt", state)
    with pytest.raises(UsageError, match=r"python -m tools\.record checkpoint=.*last\.pt adds it"):
        share(Options(str(run), str(tmp_path / "new")))
    assert not (tmp_path / "new").exists()


def broken(folder: Path, kind: str) -> None:
    weights, config = folder / "model.safetensors", folder / "config.yaml"
    if kind == "weights missing":
        weights.unlink()
    elif kind == "weights cut":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif kind == "config text":
        config.write_text("a: [1")
    elif kind == "config foreign":
        config.write_text("train: images\nval: images\n")
    elif kind == "record wrong":
        content = yaml.safe_load(config.read_text())
        content["record"]["resize"]["short"] = 0
        config.write_text(yaml.safe_dump(content))


@pytest.mark.parametrize(
    ("kind", "words"),
    [("weights missing", "is a folder without model.safetensors: give the last.pt"),
     ("weights cut", "model.safetensors is damaged"), ("config text", "config.yaml is damaged"),
     ("config foreign", "config.yaml describes no detector"), ("record wrong", "resize.short")],
)  # fmt: skip
def test_damaged_folders_are_named(folder: Path, tmp_path: Path, kind: str, words: str) -> None:
    for name in FILES:
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    broken(tmp_path, kind)
    with pytest.raises(UsageError, match=words) as error:
        load(tmp_path)
    assert str(tmp_path) in str(error.value)
