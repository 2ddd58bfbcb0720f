"""What `python -m data.check` tells of a set that is spoilt in known ways."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from data.augment.transforms import eval_transform
from data.check.__main__ import main
from data.check.duplicates import duplicates
from data.check.facts import facts
from data.check.sheet import contact_sheet
from data.coco.dataset import CocoDataset


def rewrite(root: Path, split: str, change: Callable[[dict[str, Any]], object]) -> None:
    file = root / "annotations" / f"instances_{split}2017.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def dataset(root: Path, short: int = 128) -> CocoDataset:
    file = root / "annotations" / "instances_train2017.json"
    return CocoDataset(root / "train2017", file, eval_transform(short, 1000))


def test_facts_are_those_of_the_file(tiny_coco: Path) -> None:
    def spoil(content: dict[str, Any]) -> None:
        last = content["images"][-1]["id"]
        own = [a for a in content["annotations"] if a["image_id"] == last]
        assert len(own) == 2
        own[0]["bbox"] = [500, 0, 5, 5]
        own[1]["bbox"] = [10, 10, 30, 0.1]

    rewrite(tiny_coco, "train", spoil)
    data = dataset(tiny_coco)
    found = facts(data)
    boxes = [sample.boxes_N4 for sample in data]
    counts = sorted(len(own) for own in boxes)
    sides = np.sort(np.concatenate([(b[:, 2:] - b[:, :2]).prod(1).sqrt().numpy() for b in boxes]))
    assert (found.images, found.boxes) == (8, sum(counts))
    assert (found.crowds, found.without_area, found.vanishing, found.empty) == (1, 1, 1, counts.count(0))
    assert found.empty == 2
    assert found.boxes_per_image[0] == 0
    assert found.boxes_per_image[3] == counts[-1]
    assert found.side[0] == pytest.approx(sides[0], abs=1e-3)
    assert found.side[2] == pytest.approx(sides[-1], abs=1e-3)
    assert found.small == pytest.approx((sides < 32).mean())
    assert found.small + found.medium + found.large == pytest.approx(1)
    labels = np.concatenate([sample.labels_N.numpy() for sample in data])
    assert found.boxes_C == {n: int((labels == i).sum()) for i, n in enumerate(data.class_names)}
    sizes = sorted((s.original_size[0] * s.original_size[1], s.original_size[::-1]) for s in data)
    assert (found.size[0], found.size[2]) == (sizes[0][1], sizes[-1][1])


def test_equal_pictures_are_found_and_others_are_not(tmp_path: Path) -> None:
    """Saved at another quality, size and name; all others are scenes of the same kind."""
    rng = np.random.default_rng(0)
    files: list[Path] = []
    for number in range(40):
        picture = Image.fromarray(np.full((120, 160, 3), 200, np.uint8))
        draw = ImageDraw.Draw(picture)
        for _ in range(6):
            x, y = rng.integers(0, 140), rng.integers(0, 100)
            draw.ellipse((x, y, x + 30, y + 30), fill=tuple(rng.integers(60, 255, 3).tolist()))
        files.append(tmp_path / f"{number}.png")
        picture.save(files[-1])
    (tmp_path / "broken.jpg").write_text("no image")
    Image.new("RGB", (64, 64), "white").save(tmp_path / "white1.png")
    Image.new("RGB", (64, 64), "white").save(tmp_path / "white2.png")
    with Image.open(files[3]) as picture:
        picture.save(tmp_path / "again.jpg", quality=60)
    with Image.open(files[7]) as picture:
        picture.resize((320, 240)).save(tmp_path / "large.jpg")
    train = [*files[:20], tmp_path / "broken.jpg", tmp_path / "white1.png"]
    val = [*files[20:], tmp_path / "again.jpg", tmp_path / "white2.png", tmp_path / "large.jpg"]
    calls: list[int] = []
    pairs = duplicates(train, val, lambda: calls.append(1))
    assert sorted(pairs) == [(files[3], tmp_path / "again.jpg"), (files[7], tmp_path / "large.jpg")]
    assert len(calls) == len(train) + len(val)
    assert duplicates([], val) == []


def test_the_sheet_shows_boxes_where_they_are(tiny_coco: Path) -> None:
    data = dataset(tiny_coco)
    sheet = np.asarray(contact_sheet(data))
    assert sheet.shape == (1280, 1600, 3)
    label = int(data[0].labels_N[0])
    x1, y1, x2, y2 = data.xyxy_A4[0] * (316 / max(data[0].original_size))
    color = tuple(int(text, 16) for text in ("e6", "19", "4b"))
    assert label == 0
    for x, y in ((x2, (y1 + y2) / 2), ((x1 + x2) / 2, y2)):  # right and lower edge
        near = sheet[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3].reshape(-1, 3)
        assert color in set(map(tuple, near.tolist()))


def test_the_command_names_what_is_wrong(
    tiny_coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"00000000000{row}.jpg" for row in (2, 3)]
    picture = (tiny_coco / "train2017" / names[0]).read_bytes()
    (tiny_coco / "val2017" / names[1]).write_bytes(picture)
    with Image.open(tiny_coco / "val2017" / names[1]) as image:
        size = {"width": image.width, "height": image.height}
    rewrite(tiny_coco, "val", lambda c: c["images"][3].update(size))
    rewrite(tiny_coco, "val", lambda c: [a.update(category_id=3) for a in c["annotations"]])
    main(["data=coco", f"data.root={tiny_coco}", f"runs_dir={tmp_path / 'runs'}", "data.name=mine"])
    said = " ".join(capsys.readouterr().out.split())
    assert "no box in val: train, toothbrush" in said
    assert (
        f"1 pairs of images show the same in train and val, which makes AP too high: {names[0]} = {names[1]}"
        in said
    )
    for split in ("train", "val"):
        with Image.open(tmp_path / "runs" / "check" / "mine" / f"{split}.jpg") as sheet:
            assert sheet.size == (1600, 1280)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data=coco", "data.root=/nowhere"], "no data set at /nowhere"),
        (["data=coco"], "data.root=..."),
        (["data=voc"], "data=voc"),
        ([], "data=coco data.root=DIR"),
    ],
)
def test_wrong_words_are_explained(words: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert message in str(caught.value)
