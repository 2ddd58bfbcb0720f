"""The pictures of the assigners show what the assigners do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from assigners import ATSS, O2F, Assignment, GroundTruth, PointGrid, Predictions, SimOTA, TaskAligned
from command_line import parse
from data.loader import collate
from data.shapes.dataset import ShapesDataset
from engine.run import checkpoint
from engine.setup import build_model
from errors import UsageError
from tests.helpers.tiny_run import TINY_MODEL, TINY_RUN
from tools.visualize.__main__ import Options, main, visualize
from tools.visualize.pictures import TRUTH_COLORS, assignment_figure, family_figure, progress_figure
from tools.visualize.sources import assigner_named, brief_model, images_beside
from tools.visualize.statistics import Scene, count, markers, statistics

ASSIGNERS = {"atss": ATSS(), "simota": SimOTA(), "tal": TaskAligned(), "o2f": O2F()}


@pytest.fixture(scope="module")
def scene() -> Scene:
    """A drawn picture of 128 pixels; predicted boxes are near the truths, scores random."""
    generator = torch.Generator().manual_seed(0)
    sample = ShapesDataset(8, 128, seed=1)[3]
    truth = GroundTruth.from_list([(sample.boxes_N4, sample.labels_N)])
    grid = PointGrid.for_image(128, 128, (8, 16, 32))
    nearest_P = torch.cdist(grid.centers_P2, truth.boxes_G4.unflatten(1, (2, 2)).mean(1)).argmin(1)
    boxes_BP4 = truth.boxes_G4[nearest_P][None] + 4 * torch.randn(1, len(grid), 4, generator=generator)
    scores_BPC = torch.rand(1, len(grid), 8, generator=generator)
    return Scene(sample.image, grid, Predictions(scores_BPC, boxes_BP4), truth)


def saved(config: DictConfig, classes: list[str], path: Path) -> Path:
    """An untrained model as a checkpoint."""
    torch.manual_seed(0)
    weights = build_model(config, len(classes)).state_dict()
    plain = OmegaConf.to_container(config, resolve=True)
    checkpoint.save(path, {"config": plain, "classes": classes, "epoch": 0, "weights": weights})
    return path


@pytest.fixture
def shapes_checkpoint(composed, tmp_path: Path) -> Path:
    return saved(composed(*TINY_RUN), list(ShapesDataset.class_names), tmp_path / "shapes.pt")


@pytest.mark.parametrize("name", ASSIGNERS)
@pytest.mark.parametrize("progress", [0.0, 1.0])
def test_markers_are_the_assignment(scene: Scene, name: str, progress: float) -> None:
    assignment = ASSIGNERS[name](scene.grid, scene.predictions, scene.truth, progress)
    found = markers(ASSIGNERS[name], scene, progress)
    assert len(found) == len(assignment) > 0
    dense = np.full(len(scene.grid), -1)
    for (x, y), level, row in zip(found.xy_K2, found.level_K, found.truth_K, strict=True):
        stride, (_, columns) = scene.grid.strides[level], scene.grid.shapes[level]
        point = scene.grid.level_slices[level].start + int(y // stride) * columns + int(x // stride)
        assert scene.grid.centers_P2[point].tolist() == [x, y]
        dense[point] = row
    assert dense.tolist() == assignment.dense(1, len(scene.grid))[0].tolist()
    assert found.score_K.tolist() == assignment.score_K.tolist()


def test_certain_are_one_per_served_truth_of_o2f_alone(scene: Scene) -> None:
    for name, assigner in ASSIGNERS.items():
        found = markers(assigner, scene, 0.0)
        certain = sorted(found.truth_K[found.certain_K].tolist())
        assert certain == (sorted(set(found.truth_K.tolist())) if name == "o2f" else [])
    assert (found.score_K[found.certain_K] == 1).all()
    assert found.score_K[~found.certain_K].max() == pytest.approx(0.6)


def test_count_by_hand() -> None:
    # Sides of 10, 50 and 100 pixels: one truth of each size, and a second small one that starves.
    sides = torch.tensor([10.0, 50.0, 100.0, 10.0])
    truth = GroundTruth.from_list([(torch.stack((0 * sides, 0 * sides, sides, sides), 1), 0 * sides)])
    grid = PointGrid.for_image(64, 64, (8, 32))  # 64 and 4 points
    point_K, truth_K = torch.tensor([0, 9, 63, 64, 67]), torch.tensor([0, 1, 1, 2, 2])
    score_K = torch.tensor([1.0, 0.5, 0.7, 0.2, 0.4])
    assignment = Assignment(torch.zeros_like(point_K), point_K, truth_K, score_K, torch.ones(5))
    found = count(assignment, truth, grid)
    np.testing.assert_allclose(found.positives_per_truth, [0.5, 2, 2, 1.25])
    np.testing.assert_allclose(found.mean_score, [1, 0.6, 0.3, 0.56], rtol=1e-6)
    np.testing.assert_allclose(found.starved_share, [0.5, 0, 0, 0.25])
    np.testing.assert_allclose(found.level_share, [0.6, 0.4])


def test_statistics_add_up_over_batches(composed) -> None:
    config = composed(*TINY_RUN)
    torch.manual_seed(0)
    model, dataset = build_model(config, 8).eval(), ShapesDataset(4, 64, seed=0)
    samples, cpu = [dataset[row] for row in range(4)], torch.device("cpu")
    whole = statistics(model, [collate(samples)], ASSIGNERS, 0.0, cpu)
    parts = statistics(model, [collate(samples[:1]), collate(samples[1:])], ASSIGNERS, 0.0, cpu)
    for name in ASSIGNERS:
        assert whole[name].truths_3.sum() == sum(len(sample.labels_N) for sample in samples)
        assert whole[name].positives_3.sum() == whole[name].level_L.sum() > 0
        for field in ("truths_3", "positives_3", "starved_3", "level_L"):
            np.testing.assert_array_equal(getattr(whole[name], field), getattr(parts[name], field))


def test_panels_hold_the_markers(scene: Scene) -> None:
    found = {name: markers(assigner, scene, 0.0) for name, assigner in ASSIGNERS.items()}
    panels = assignment_figure(scene, found, "").axes
    assert len(panels) == 4 * 3
    for number, panel in enumerate(panels):
        shown = list(found.values())[number // 3]
        expected = sorted(map(tuple, shown.xy_K2[shown.level_K == number % 3].tolist()))
        drawn = [tuple(xy) for dots in panel.collections for xy in dots.get_offsets().tolist()]
        assert sorted(drawn) == expected
        assert len(panel.patches) == len(scene.truth)
    top = progress_figure(scene, {p: markers(O2F(), scene, p) for p in (0.0, 1.0)}, (0.6, 0.2)).axes[:2]
    early, late = (panel.collections[0].get_sizes().max() for panel in top)
    assert late < early
    assert len(set(TRUTH_COLORS)) == len(TRUTH_COLORS)


def test_a_family_has_one_panel_each_with_all_levels(scene: Scene) -> None:
    found = {name: markers(assigner, scene, 0.0) for name, assigner in ASSIGNERS.items()}
    six = {**found, "tal_everywhere": found["tal"], "again": found["o2f"]}
    panels = family_figure(scene, six, "").axes
    assert len(panels) == 8  # two rows of four, of which two stay empty
    for panel, shown in zip(panels, six.values(), strict=False):
        drawn = [tuple(xy) for dots in panel.collections for xy in dots.get_offsets().tolist()]
        assert sorted(drawn) == sorted(map(tuple, shown.xy_K2.tolist()))
    assert not any(panel.axison for panel in panels[6:])


def test_a_scene_without_truths_can_be_drawn(scene: Scene) -> None:
    empty = Scene(
        scene.image,
        scene.grid,
        scene.predictions,
        GroundTruth.from_list([(torch.zeros(0, 4), torch.zeros(0))]),
    )
    assignment_figure(empty, {"o2f": markers(O2F(), empty, 0.0)}, "")
    progress_figure(empty, {0.0: markers(O2F(), empty, 0.0)}, (0.6,))


def test_shapes(shapes_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([f"checkpoint={shapes_checkpoint}", f"out={tmp_path}/out", "picture=1", "images=3", "device=cpu"])
    names = ["assignment.png", "o2f_progress.png", "assignment_statistics.png"]
    assert capsys.readouterr().out.split() == [str(tmp_path / "out" / name) for name in names]
    for name in names:
        with Image.open(tmp_path / "out" / name) as picture:
            assert picture.width == 1200
        assert (tmp_path / "out" / name).stat().st_size < 300_000


def test_image_of_a_coco_set(composed, tiny_coco: Path, tmp_path: Path) -> None:
    words = ("data=coco", f"data.root={tiny_coco}", "data.eval_short=64", "data.eval_long=96", *TINY_MODEL)
    path = saved(composed(*words), ["car", "train", "toothbrush"], tmp_path / "coco.pt")
    image, annotations = (
        tiny_coco / "val2017/000000000002.jpg",
        tiny_coco / "annotations/instances_val2017.json",
    )
    options = parse(
        Options,
        [f"checkpoint={path}", f"image={image}", f"annotations={annotations}", f"out={tmp_path}/out",
         "assigners=[atss,tal]", "device=cpu"]
    )  # fmt: skip
    assert [file.name for file in visualize(options)] == ["assignment.png", "assignment_statistics.png"]


def test_images_beside_needs_one_image_only(tiny_coco: Path) -> None:
    annotations = tiny_coco / "annotations/instances_val2017.json"
    (tiny_coco / "val2017/000000000000.jpg").unlink()
    found = images_beside(tiny_coco / "val2017/000000000002.jpg", annotations)
    assert len(found) == 3
    wanted = [a["bbox"] for a in json.loads(annotations.read_text())["annotations"] if a["image_id"] == 1074]
    assert found[0].image_id == 1074
    assert [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in found[0].boxes_N4.tolist()] == wanted
    Image.new("RGB", (8, 8)).save(tiny_coco / "val2017/other.jpg")
    with pytest.raises(UsageError, match=r"does not list other\.jpg"):
        images_beside(tiny_coco / "val2017/other.jpg", annotations)
    with pytest.raises(UsageError, match="no image at"):
        images_beside(tiny_coco / "val2017/none.jpg", annotations)


def test_the_assigner_of_a_run_keeps_its_options(composed) -> None:
    trained = composed(*TINY_RUN, "assigner=o2f", "assigner.name=o2f-topk3", "assigner.topk=3")
    assert assigner_named("o2f", trained).topk == 3
    assert assigner_named("tal", trained).topk == 13


def test_a_brief_model_is_trained_once(tmp_path: Path) -> None:
    words = (*TINY_RUN, "schedule.epochs=1", "eval.every=1")
    path = brief_model(tmp_path, 0, "cpu", words)
    written = path.stat().st_mtime_ns
    assert brief_model(tmp_path, 0, "cpu", words).stat().st_mtime_ns == written
    # With other settings, as after an update of the tool, it is trained anew.
    assert brief_model(tmp_path, 0, "cpu", (*words, "schedule.lr=1e-3")).stat().st_mtime_ns > written


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["picturs=3"], "picturs=3: .*the keys are checkpoint, image"),
        (["picture"], "key=value"),
        (["picture=first"], "picture=first"),
        (["image=a.jpg", "checkpoint=a.pt"], "annotations=FILE"),
        (["image=a.jpg", "annotations=a.json"], "checkpoint=FILE"),
        (["progress=2"], "progress"),
        (
            ["assigners=[atss,rpn]"],
            "choose from atss, atss_tal, dsla",
        ),
    ],
)
def test_wrong_arguments(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(Options, words)


def test_errors_of_the_command_have_no_trace(shapes_checkpoint: Path, tmp_path: Path) -> None:
    words = [f"checkpoint={shapes_checkpoint}", f"out={tmp_path}/out", "device=cpu"]
    with pytest.raises(SystemExit, match="picture=9: the data has 4 images"):
        main([*words, "picture=9"])
    with pytest.raises(SystemExit, match="no checkpoint at"):
        main(["checkpoint=none.pt", f"out={tmp_path}/out"])
    assert parse(Options, []) == Options()
