"""predict.py writes what it finds, whatever the source, and no broken file stops it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from omegaconf import DictConfig
from PIL import Image

from data.shapes.dataset import ShapesDataset
from engine.evaluate import evaluate_checkpoint
from engine.setup import build_dataset
from engine.trainer import train
from errors import UsageError
from inference.detecting import Options
from inference.results import ids_of
from inference.sources import find
from predict import main, open_model, predict
from tests.helpers.exported import exported, trained
from tests.helpers.same_rows import assert_same_rows
from tests.helpers.tiny_run import ROOT, TINY_RUN

# What remains importable where torch is not installed: these names are refused.
WITHOUT_TORCH = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision", "timm", "pycocotools", "hydra", "onnx"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refuse())
sys.path.insert(0, sys.argv.pop(1))
from predict import main
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four pictures of different sizes, an empty file and a text that are called pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, sample in enumerate(ShapesDataset(4, 160, seed=0)):
        picture = Image.fromarray(sample.image.permute(1, 2, 0).numpy())
        picture.resize((160 + 40 * number, 160)).save(folder / f"drawn-{number}.png")
    (folder / "drawn-1b.jpg").touch()
    (folder / "drawn-2b.jpg").write_text("no picture")
    (folder / "notes.txt").write_text("not asked for")
    return folder


def rows(folder: Path) -> list[dict]:
    return json.loads((folder / "predictions.json").read_text())


def test_folder_to_pictures_json_and_csv(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = str(trained("fcos")[0])
    main([f"checkpoint={checkpoint}", f"source={pictures}", f"out={tmp_path}", "score=0.2"])
    said = capsys.readouterr().err.replace("\n", " ")
    assert "drawn-1b.jpg: not an image, the file has zero bytes" in said
    assert "drawn-2b.jpg: not a readable image" in said
    assert "4 images" in said
    assert "2 left out" in said
    assert "images per second" in said
    assert sorted(file.name for file in tmp_path.glob("*.jpg")) == [f"drawn-{n}.jpg" for n in range(4)]
    with Image.open(tmp_path / "drawn-3.jpg") as drawn, Image.open(pictures / "drawn-3.png") as plain:
        assert drawn.size == plain.size
        assert np.abs(np.asarray(drawn).astype(int) - np.asarray(plain.convert("RGB"))).max() > 100
    model = open_model(checkpoint)
    expected = []
    for image_id, name in ((1, "drawn-0"), (2, "drawn-1"), (4, "drawn-2"), (6, "drawn-3")):
        expected += model.predict(pictures / f"{name}.png", score=0.2).coco(image_id)
    assert_same_rows(rows(tmp_path), expected)
    table = list(csv.DictReader((tmp_path / "predictions.csv").open()))
    assert len(table) == len(expected) > 10
    first = rows(tmp_path)[0]
    assert [int(table[0]["image_id"]), float(table[0]["x_min"])] == [1, pytest.approx(first["bbox"][0])]
    assert table[0]["class_name"] == ShapesDataset.class_names[first["category_id"] - 1]


def test_onnx_file_where_torch_is_not_installed(pictures: Path, tmp_path: Path) -> None:
    one = exported("fcos", "topk")
    words = [f"source={pictures}", "score=0.1"]
    line = [sys.executable, "-c", WITHOUT_TORCH, str(ROOT), f"checkpoint={one.file}", f"out={tmp_path / 'a'}"]
    done = subprocess.run([*line, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    main([f"checkpoint={one.checkpoint}", f"out={tmp_path / 'b'}", *words])
    assert len(rows(tmp_path / "a")) > 10
    assert_same_rows(rows(tmp_path / "a"), rows(tmp_path / "b"))
    line = [sys.executable, "-c", WITHOUT_TORCH, str(ROOT), f"checkpoint={one.checkpoint}", f"out={tmp_path}"]
    done = subprocess.run([*line, *words], capture_output=True, text=True, check=False)
    assert "needs torch, which is not installed" in done.stderr
    assert "Traceback" not in done.stderr


def test_annotations_give_ids_and_order(pictures: Path, tmp_path: Path) -> None:
    images = [{"id": 70, "file_name": "drawn-2.png"}, {"id": 30, "file_name": "sub/drawn-0.png"}]
    (tmp_path / "truth.json").write_text(json.dumps({"images": images, "annotations": []}))
    options = Options(str(trained("fcos")[0]), str(pictures), str(tmp_path / "out"))
    options.annotations, options.draw, options.score = str(tmp_path / "truth.json"), False, 0.1
    predict(options)
    assert list(dict.fromkeys(row["image_id"] for row in rows(tmp_path / "out"))) == [70, 30]
    assert not list((tmp_path / "out").glob("*.jpg"))
    (tmp_path / "truth.json").write_text(json.dumps({"images": [{"id": 1, "file_name": "else.png"}]}))
    with pytest.raises(UsageError, match="lists none of the 6 images"):
        predict(options)


def test_rows_on_a_validation_folder_are_those_of_eval_py(
    composed: Callable[..., DictConfig], tmp_path: Path
) -> None:
    config = composed(*TINY_RUN, "eval.score_threshold=0.001", f"runs_dir={tmp_path}/runs")
    train(config)
    run = tmp_path / "runs" / config.name
    evaluate_checkpoint(composed(f"run={run}", "device=cpu", name="eval"))
    validation = build_dataset(config.data, "val", config.seed)
    truth = validation.coco_json()
    (tmp_path / "val").mkdir()
    for image, sample in zip(truth["images"], validation, strict=True):
        image["file_name"] = f"{image['id']}.png"
        Image.fromarray(sample.image.permute(1, 2, 0).numpy()).save(tmp_path / "val" / image["file_name"])
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    words = [f"source={tmp_path}/val", f"annotations={tmp_path}/truth.json", "score=0.001", "draw=false"]
    for select, name in (("topk", "predictions.json"), ("nms", "predictions_nms.json")):
        main([f"checkpoint={run}/last.pt", f"out={tmp_path}/{select}", f"select={select}", *words])
        expected = json.loads((run / name).read_text())
        assert len(expected) > 50
        assert_same_rows(rows(tmp_path / select), expected)
        order = [row["image_id"] for row in expected]
        assert [row["image_id"] for row in rows(tmp_path / select)] == order


def test_numbers_in_file_names_are_ids() -> None:
    files = [Path("a/000000000139.jpg"), Path("a/000000000785.jpg")]
    assert list(ids_of(files, None).values()) == [139, 785]
    assert list(ids_of([*files, Path("a/1x.jpg")], None).values()) == [1, 2, 3]
    assert list(ids_of([Path("a/7.jpg"), Path("b/7.jpg")], None).values()) == [1, 2]


def video(path: Path, frames: Iterator[np.ndarray], size: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = size
        container.start_encoding()  # writes the header even if there is no frame
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def test_video_to_video(tmp_path: Path) -> None:
    frames = (sample.image.permute(1, 2, 0).numpy() for sample in ShapesDataset(6, 160, seed=0))
    video(tmp_path / "clip.mp4", frames, 160)
    words = [f"source={tmp_path / 'clip.mp4'}", f"out={tmp_path / 'out'}", "frames=5", "score=0.1"]
    main([f"checkpoint={trained('fcos')[0]}", *words])
    assert {row["image_id"] for row in rows(tmp_path / "out")} == {1, 2, 3, 4, 5}
    with av.open(str(tmp_path / "out" / "clip.mp4")) as container:
        assert len(list(container.decode(video=0))) == 5


@pytest.mark.parametrize(
    ("name", "words"),
    [("none.jpg", "no such image, folder, pattern or video"), ("empty", "the folder holds no image"),
     ("empty.mp4", "a video without frames, or"), ("text.mp4", "a video without frames, or"),
     ("frames.mkv", "a video without frames, or"), ("*.gif", "no such image")],
)  # fmt: skip
def test_sources_without_images_are_named(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video")
    if name == "frames.mkv":
        video(tmp_path / name, iter(()), 64)
    with pytest.raises(UsageError, match=words) as error:
        find(str(tmp_path / name))
    assert name in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_camera_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="source=camera:7: no such camera"):
        find("camera:7")


def test_out_is_not_the_folder_of_the_images(pictures: Path, tmp_path: Path) -> None:
    checkpoint = str(trained("fcos")[0])
    with pytest.raises(UsageError, match="holds images of the source"):
        predict(Options(checkpoint, str(pictures), str(pictures)))
    with pytest.raises(UsageError, match="none of its 1 images can be read"):
        predict(Options(checkpoint, str(pictures / "drawn-1b.jpg"), str(tmp_path)))
