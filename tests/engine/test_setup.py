from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from torch import nn

import assigners
from data.augment.augmented import AugmentedDataset
from data.coco.dataset import CocoDataset
from data.sample import Index, Sample
from data.shapes.dataset import ShapesDataset
from engine.config.compose import check
from engine.parts import build_parts
from engine.setup import bf16, build_assigner, build_dataset, build_model, choose_device
from engine.trainer import train
from errors import UsageError

Compose = Callable[..., DictConfig]


@pytest.fixture(scope="module")
def default(composed: Compose) -> DictConfig:
    return composed()


def test_a_good_config_passes(tiny_run: Compose) -> None:
    check(tiny_run())
    check(tiny_run("schedule.clip_norm=null", "schedule.ema=null", "max_steps=3", "data.short=[48,64]"))


@pytest.mark.parametrize(
    "word",
    [
        "schedule.epochs=0", "schedule.epochs=ten", "schedule.epochs=1.5", "schedule.epochs=true",
        "schedule.epochs=null", "schedule.batch_size=0", "schedule.accumulate=-1", "schedule.lr=abc",
        "schedule.lr=0", "schedule.lr=null", "schedule.lr=nan", "schedule.clip_norm=-1", "schedule.ema=x",
        "schedule.weight_decay=x", "schedule.momentum=x", "schedule.warmup_steps=-1",
        "schedule.milestones=[1,b]", "schedule.milestones=8", "data.workers=-1", "data.workers=two",
        "data.short=big", "data.short=[64,big]", "data.long=[64,96]", "data.eval_long=x",
        "data.long=null", "data.eval_short=0", "data.flip=often", "data.size=64px", "data.images.train=0",
        "data.crowd=many", "seed=-1", "seed=x", "max_steps=0", "eval.every=0", "eval.limit=all",
        "eval.metric=foo", "eval.backend=foo", "eval.nms_iou=x", "eval.score_threshold=x",
        "eval.candidates=0", "loss.box_gain=x",
        "model.neck.channels=0", "model.head.convs=two", "model.backbone.levels=[3,x]", "data.flip=1.5",
        "data.expand=-0.1", "data.crop=2", "data.mosaic=nan", "data.mixup=true", "data.plain_epochs=-1",
        "data.plain_epochs=null", "data.photometric=weak", "data.scale_jitter=2",
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_its_key(default: DictConfig, word: str) -> None:
    key, _, value = word.partition("=")
    with pytest.raises(UsageError) as info:
        check(OmegaConf.merge(default, OmegaConf.from_dotlist([word])))  # type: ignore[arg-type]
    assert str(info.value).startswith(f"{key}=")
    shown = {"null": "None", "true": "True"}
    assert shown.get(value, value.split(",")[-1].strip("[]")) in str(info.value)
    assert "must be" in str(info.value)


@pytest.mark.parametrize("value", ["[2.0,0.5]", "[0,1]", "[1]", "[1,2,3]", "[1,x]", "[1,inf]"])
def test_a_wrong_range_is_named(default: DictConfig, value: str) -> None:
    with pytest.raises(UsageError, match=r"data\.scale_jitter=\[.* must be two rising factors"):
        check(OmegaConf.merge(default, OmegaConf.from_dotlist([f"data.scale_jitter={value}"])))  # type: ignore[arg-type]


def test_a_value_that_is_needed_is_named(composed: Compose) -> None:
    with pytest.raises(UsageError, match=r"data\.root=\.\.\."):
        check(composed("data=coco"))


def test_devices() -> None:
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(UsageError, match=r"device=gpu.*auto, cpu or cuda"):
        choose_device("gpu")
    with pytest.raises(UsageError, match=r"device=xla.*not supported.*auto, cpu or cuda"):
        choose_device("xla")
    if not torch.backends.mps.is_available():
        with pytest.raises(UsageError, match=r"device=mps.*device=cpu"):
            choose_device("mps")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match=r"device=cuda.*device=cpu"):
            choose_device("cuda")


@pytest.mark.parametrize("native", [True, False])
def test_auto_takes_bfloat16_only_where_it_is_faster(monkeypatch: pytest.MonkeyPatch, native: bool) -> None:
    def supported(including_emulation: bool = True) -> bool:
        return native or including_emulation

    monkeypatch.setattr("torch.cuda.is_bf16_supported", supported)
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: native)
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    dense = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 3, groups=2))
    depthwise = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 3, groups=4))
    assert bf16("auto", gpu, depthwise) is native
    assert bf16("auto", cpu, dense) is native
    assert not bf16("auto", cpu, depthwise)
    for device in (gpu, cpu):
        assert bf16("bf16", device, depthwise)
        assert not bf16("float32", device, dense)


@pytest.mark.parametrize("chosen", [True, False])
def test_the_choice_of_bfloat16_is_told(
    tiny_run: Compose, monkeypatch: pytest.MonkeyPatch, chosen: bool
) -> None:
    monkeypatch.setattr("engine.parts.bf16", lambda *_: chosen)
    console = Console(record=True, quiet=False)
    assert build_parts(tiny_run(), False, console).bf16 is chosen
    assert ("precision=float32 switches it off" in console.export_text()) is chosen


def test_shapes_that_are_held_out_are_the_same_for_every_seed(tiny_run: Compose) -> None:
    data = tiny_run().data
    train, val = build_dataset(data, "train", 3), build_dataset(data, "val", 3)
    assert isinstance(train, ShapesDataset)
    assert (len(train), len(val)) == (12, 4)
    assert torch.equal(val[0].image, build_dataset(data, "val", 4)[0].image)
    assert not torch.equal(train[(0, 0)].image, build_dataset(data, "train", 4)[(0, 0)].image)
    assert not torch.equal(train[(0, 0)].image, val[0].image)


def test_coco_splits(coco_run: Compose) -> None:
    data = coco_run("data.short=[40,48]", "data.long=60", "data.eval_short=70", "data.eval_long=60").data
    train, val = build_dataset(data, "train", 0), build_dataset(data, "val", 0)
    assert isinstance(train, CocoDataset)
    assert (len(train), len(val)) == (8, 4)
    assert max(train[(0, 3)].image.shape[1:]) <= 60
    assert max(val[0].image.shape[1:]) == 60


def test_augmentations_reach_training_alone(coco_run: Compose) -> None:
    words = ("data.mosaic=1", "data.mixup=1", "data.expand=1", "data.crop=1", "data.photometric=strong")
    config = coco_run(*words, "data.scale_jitter=[0.5,2]", "data.plain_epochs=1", "data.flip=0")
    check(config)
    augmented = build_dataset(config.data, "train", 0, epochs=3)
    bare = build_dataset(coco_run("data.photometric=strong", "data.flip=0").data, "train", 0, epochs=3)
    assert isinstance(bare, CocoDataset)
    for row in range(8):
        for epoch in (0, 1):
            assert augmented[epoch, row].image.shape == (3, 96, 96)
        assert torch.equal(augmented[2, row].image, bare[2, row].image)
        assert torch.equal(augmented[2, row].boxes_N4, bare[2, row].boxes_N4)
    val, plain = build_dataset(config.data, "val", 0), build_dataset(coco_run().data, "val", 0)
    assert all(torch.equal(one.image, other.image) for one, other in zip(val, plain, strict=True))


def test_a_run_knows_its_last_epochs(tiny_run: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    original = AugmentedDataset.__getitem__

    def watched(self: AugmentedDataset, index: Index) -> Sample:
        seen.append((index, self.plain_from))
        return original(self, index)

    monkeypatch.setattr(AugmentedDataset, "__getitem__", watched)
    train(tiny_run("data.mosaic=0.5", "data.mixup=0.5", "data.plain_epochs=1", "schedule.epochs=2"))
    assert {index[0] for index, _ in seen} == {0, 1}
    assert {plain_from for _, plain_from in seen} == {1}


def test_scale_in_a_mosaic_is_that_of_its_images(coco_run: Compose) -> None:
    # Fitted into a square of 96, the truth of single images is as large as that of mosaics.
    words = ("data.mosaic=1", "data.short=96", "data.flip=0")
    mosaics = build_dataset(coco_run(*words).data, "train", 0)
    singles = build_dataset(coco_run("data.short=96", "data.flip=0").data, "train", 0)
    sides = []
    for data in (mosaics, singles):
        boxes_N4 = torch.cat([data[epoch, row].boxes_N4 for epoch in range(6) for row in range(8)])
        sides.append((boxes_N4[:, 2:] - boxes_N4[:, :2]).amax(dim=1).median().item())
    assert sides[0] == pytest.approx(sides[1], rel=0.25)


def test_a_root_that_is_not_there_is_named(coco_run: Compose, tmp_path: Path) -> None:
    data = coco_run(f"data.root={tmp_path}/absent").data
    with pytest.raises(UsageError, match=r"absent.*data\.root=DIR.*train2017.*instances_train2017\.json"):
        build_dataset(data, "train", 0)


def test_an_unknown_kind_is_named(tiny_run: Compose) -> None:
    with pytest.raises(UsageError, match=r"data\.kind.*voc"):
        build_dataset(tiny_run("data.kind=voc").data, "train", 0)


@pytest.mark.parametrize(
    ("word", "kind", "option", "value"),
    [
        ("atss", assigners.ATSS, "topk", 5),
        ("simota", assigners.SimOTA, "candidate_topk", 5),
        ("tal", assigners.TaskAligned, "topk", 5),
        ("o2f", assigners.O2F, "topk", 5),
    ],
)
def test_assigners_come_with_their_options(
    tiny_run: Compose, word: str, kind: type, option: str, value: int
) -> None:
    assigner = build_assigner(tiny_run(f"assigner={word}", f"assigner.{option}={value}"))
    assert isinstance(assigner, kind)
    assert getattr(assigner, option) == value


@pytest.mark.parametrize(
    "word", ["assigner.topk=0", "+assigner.top_k=5", "assigner._target_=assigners.Unknown"]
)
def test_an_assigner_that_cannot_be_built_is_named(tiny_run: Compose, word: str) -> None:
    with pytest.raises(UsageError, match="assigner=o2f cannot be built"):
        build_assigner(tiny_run(word))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["+assigner.top_k=5"], r"assigners\.O2F takes no top_k \(did you mean topk\?\); it takes topk, "),
        (["assigner=atss_tal", "+assigner.first.top_k=5"], r"assigners\.ATSS takes no top_k .*topk"),
    ],
)
def test_an_unknown_option_is_named_with_the_nearest(
    tiny_run: Compose, words: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        build_assigner(tiny_run(*words))


class Open(assigners.O2F):
    """An assigner of a user's own that takes any option."""

    def __init__(self, **options: int) -> None:
        super().__init__()
        self.options = options


def test_an_assigner_may_take_any_option(tiny_run: Compose) -> None:
    config = tiny_run("assigner=atss")
    config.assigner = {"name": "open", "_target_": f"{__name__}.Open", "own": 3}
    assert build_assigner(config).options == {"own": 3}
    config.assigner._target_ = f"{__name__}.absent"
    with pytest.raises(UsageError, match=r"cannot be built: .*absent.*"):
        build_assigner(config)


def test_the_model_follows_the_config(tiny_run: Compose) -> None:
    model = build_model(tiny_run("model.neck.extra_levels=1", "model.head.quality=centerness"), 5)
    outputs = model.eval()(torch.zeros(1, 3, 64, 64))
    assert outputs.grid.strides == (8, 16, 32, 64)
    assert outputs.logits_BPC.shape[-1] == 5
    assert outputs.quality_BP is not None
