"""Finished runs are found, others are named; a row of the table is one recipe."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from engine.run.directory import read_config
from errors import UsageError
from tests.helpers.finished_runs import write_run
from tools.compare.commands import commands, hydra_text
from tools.compare.find import find
from tools.compare.groups import Spread, differing, sections
from tools.compare.runs import FinishedRun, curve, read


def test_a_folder_of_runs_or_the_runs_themselves(composed, tmp_path: Path) -> None:
    paths = [write_run(composed, tmp_path, f"assigner={name}") for name in ("atss", "o2f")]
    for words in ([str(tmp_path)], [str(path) for path in paths], [str(tmp_path), str(paths[0])]):
        runs, left_out = find(words)
        assert [run.path for run in runs] == paths
        assert left_out == {}
    assert runs[0].result == json.loads((paths[0] / "eval.json").read_text())


def test_what_is_not_finished_is_named(composed, tmp_path: Path) -> None:
    done = write_run(composed, tmp_path, "assigner=atss")
    early = write_run(composed, tmp_path, "assigner=o2f")
    result = json.loads((early / "eval.json").read_text())
    (early / "eval.json").write_text(json.dumps({**result, "epoch": 1}))
    begun = write_run(composed, tmp_path, "assigner=tal")
    (begun / "eval.json").unlink()
    (tmp_path / "multirun.yaml").touch()
    runs, left_out = find([str(path) for path in (done, early, begun, tmp_path / "multirun.yaml")])
    assert [run.path for run in runs] == [done]
    assert "epoch 1 of 2" in left_out[str(early)]
    assert "no eval.json" in left_out[str(begun)]
    assert "not a run directory" in left_out[str(tmp_path / "multirun.yaml")]
    with pytest.raises(UsageError, match=r"no finished run(.|\n)*no eval\.json"):
        find([str(begun)])


def test_errors_name_what_is_wrong(composed, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to compare"):
        find([])
    with pytest.raises(UsageError, match="nowhere does not exist"):
        find([str(tmp_path / "nowhere")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="empty: not a run directory"):
        find([str(tmp_path / "empty")])
    path = write_run(composed, tmp_path / "runs", "assigner=atss")
    (path / "predictions.json").unlink()
    with pytest.raises(UsageError, match=r"lacks predictions\.json: python eval\.py run="):
        find([str(path)])
    (path / "predictions.json").write_text("[]")
    (path / "eval.json").write_text("{")
    with pytest.raises(UsageError, match=r"eval\.json is damaged"):
        find([str(path)])
    (path / "eval.json").write_text('{"epoch": 2}')
    with pytest.raises(UsageError, match=r"eval\.json holds no result"):
        find([str(path)])


def test_training_time_is_summed_over_epochs_and_continuations(composed, tmp_path: Path) -> None:
    path = write_run(composed, tmp_path, "assigner=atss")
    assert read(path).training_seconds == pytest.approx(2 * 30)
    rows = [(0.4, 8.0), (0.8, 16.0), (0.9, 3.0), (1.0, 5.0), (2.0, 21.0)]  # continued after 0.8
    lines = [
        {"step": step, "train/epoch": epoch, "train/step_seconds": seconds, "train/data_seconds": 0.0}
        for step, (epoch, seconds) in enumerate(rows)
    ]
    (path / "metrics.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines) + '{"step": 9, "tr'
    )
    assert read(path).training_seconds == pytest.approx(16 + 5 + 21)
    (path / "metrics.jsonl").write_text("")
    assert read(path).training_seconds is None


def test_curves(composed, tmp_path: Path) -> None:
    run = read(write_run(composed, tmp_path, "assigner=o2f"))
    assert curve(run, "assign/soft_target") == pytest.approx({1.0: 0.6, 2.0: 0.2})
    assert curve(run, "train/loss") == pytest.approx({1.0: 1.5, 2.0: 1.4})
    assert curve(run, "nms/AP")[2.0] == run.result["nms"]["AP"]
    assert curve(run, "assign/unknown") == {}


def test_seeds_are_one_row_and_everything_else_is_not(composed, tmp_path: Path) -> None:
    for words in (
        ("seed=0",),
        ("seed=1",),
        ("seed=0", "recipe=controlled"),
        ("schedule.lr=1e-3", "name=slow"),
    ):
        write_run(composed, tmp_path, "assigner=atss", *words)
    # Neither where a run lies nor how often it was evaluated makes it another one.
    write_run(
        composed, tmp_path / "b", "assigner=atss", "seed=2", "eval.every=1", "eval.batch_size=2", "name=x"
    )
    (section,) = sections(find([str(tmp_path), str(tmp_path / "b")])[0])
    groups = {group.label: group for group in section.groups}
    assert sorted(groups) == ["ATSS, controlled", "ATSS, schedule.lr=0.001", "ATSS, schedule.lr=0.007"]
    assert groups["ATSS, schedule.lr=0.007"].seeds == (0, 1, 2)
    assert list(section.also) == ["schedule.lr"]
    pair = groups["ATSS, schedule.lr=0.007"], groups["ATSS, schedule.lr=0.001"]
    assert differing(pair) == {"schedule.lr": [0.007, 0.001]}


def test_what_an_assigner_brings_along_is_named_only_where_nothing_else_differs(
    composed, tmp_path: Path
) -> None:
    write_run(composed, tmp_path, "assigner=dual_o2f")
    write_run(composed, tmp_path, "assigner=dual_o2f", "schedule.lr=1e-3", "loss.box_gain=3.0", "name=b")
    (section,) = sections(find([str(tmp_path)])[0])
    assert {group.label for group in section.groups} == {
        "TAL + O2F, schedule.lr=0.007", "TAL + O2F, schedule.lr=0.001",
    }  # fmt: skip
    write_run(composed, tmp_path, "assigner=dual_o2f", "loss.box_gain=4.0", "name=c")
    (section,) = sections(find([str(tmp_path)])[0])
    labels = [group.label for group in section.groups]
    assert len(set(labels)) == 3
    assert all("loss.box_gain=" in label for label in labels)


def test_labels_say_what_one_types(composed, tmp_path: Path) -> None:
    write_run(composed, tmp_path, "assigner=atss")
    write_run(composed, tmp_path, "assigner=atss", "eval.peak_window=3", "data.photometric=true", "name=b")
    (section,) = sections(find([str(tmp_path)])[0])
    assert {group.label for group in section.groups} == {
        "ATSS, data.photometric=false, eval.peak_window=null",
        "ATSS, data.photometric=true, eval.peak_window=3",
    }


def test_other_truths_are_another_table(composed, tmp_path: Path) -> None:
    for words in (("name=a",), ("name=b", "data.crowd=1.0"), ("name=c", "data.name=mine")):
        write_run(composed, tmp_path, "assigner=atss", *words)
    titles = {section.title: len(section.groups) for section in sections(find([str(tmp_path)])[0])}
    assert titles == {"shapes, data.crowd=0.0": 1, "shapes, data.crowd=1.0": 1, "mine": 1}


def test_the_same_run_twice_is_refused(composed, tmp_path: Path) -> None:
    for words in ((), ("name=copy",)):
        write_run(composed, tmp_path, "assigner=atss", *words)
    with pytest.raises(UsageError, match="are the same run, config and seed 0"):
        sections(find([str(tmp_path)])[0])


def test_spread() -> None:
    assert Spread.of([1.0, 3.0]) == Spread(2.0, pytest.approx(2**0.5))
    assert Spread.of([1.0]) == Spread(1.0, None)
    assert Spread.of([1.0, None]) is None
    assert Spread.of([]) is None


@pytest.mark.parametrize(
    "words",
    [
        ("assigner=tal", "recipe=controlled", "seed=3"),
        ("data.size=96", "data.images.train=7", "schedule.milestones=[1,2]", "schedule.clip_norm=null"),
        ("experiment=small", "data.root=/a b/c", r"data.name='it\'s'", "model.backbone.weights='7'"),
        ("experiment=coco_fcos_r50_1x", "data.root=.", "+assigner.another=true", "assigner=atss"),
    ],
)
def test_a_command_gives_its_config_back(composed, tmp_path: Path, words: tuple[str, ...]) -> None:
    path = tmp_path / "run"
    path.mkdir()
    config = composed(*words)
    (path / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True))
    plain = OmegaConf.to_container(read_config(path), resolve=True)
    (line,) = commands([FinishedRun(path, plain, {}, ())])
    again = composed(*shlex.split(line)[2:])
    assert OmegaConf.to_container(again, resolve=True) == plain
    assert len(line) < 300


def test_values_in_the_grammar_of_hydra() -> None:
    texts = {"a b": "'a b'", "o2f": "o2f", "1": "'1'", "true": "'true'", "a'b": r"'a\'b'", "": "''"}
    assert {value: hydra_text(value) for value in texts} == texts
    assert [hydra_text(value) for value in (None, True, 0.5, [3, "x,y"])] == [
        "null",
        "true",
        "0.5",
        "[3,'x,y']",
    ]
