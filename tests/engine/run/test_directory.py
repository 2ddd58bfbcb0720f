from __future__ import annotations

import json
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from engine.config.compose import completed, flatten
from engine.run.directory import begin, differences, open_run, read_config, write_text
from errors import UsageError


def config(tmp_path: Path, **changes: object) -> DictConfig:
    plain = {
        "name": "one", "runs_dir": str(tmp_path / "runs"), "overwrite": False, "seed": 0,
        "schedule": {"epochs": 3, "lr": 0.1}, "data": {"root": "a", "workers": 2},
    }  # fmt: skip
    made = OmegaConf.create(completed(plain))
    for key, value in changes.items():
        OmegaConf.update(made, key.replace("__", "."), value)
    return made


def started(tmp_path: Path) -> Path:
    run = open_run(config(tmp_path))
    begin(run, config(tmp_path))
    return run.path


def test_a_new_run_gets_a_directory_with_its_config(tmp_path: Path) -> None:
    run = open_run(config(tmp_path))
    assert (run.path, run.resumed, run.result) == (tmp_path / "runs" / "one", False, None)
    assert list(run.path.iterdir()) == []
    begin(run, config(tmp_path))
    assert [path.name for path in run.path.iterdir()] == ["config.yaml"]
    assert read_config(run.path) == config(tmp_path)


def test_a_name_that_yaml_reads_as_a_number_names_its_directory(tmp_path: Path) -> None:
    assert open_run(config(tmp_path, name=2024)).path == tmp_path / "runs" / "2024"


def test_a_run_that_never_began_leaves_the_directory_open_for_a_corrected_config(tmp_path: Path) -> None:
    open_run(config(tmp_path, schedule__lr=9.0))
    assert open_run(config(tmp_path)).result is None


def test_a_checkpoint_makes_it_resumed(tmp_path: Path) -> None:
    path = started(tmp_path)
    (path / "last.pt").touch()
    assert open_run(config(tmp_path)).resumed


def test_a_result_of_the_last_epoch_makes_it_finished(tmp_path: Path) -> None:
    path = started(tmp_path)
    write_text(path / "eval.json", json.dumps({"epoch": 2}))
    assert open_run(config(tmp_path)).result is None
    write_text(path / "eval.json", json.dumps({"epoch": 3, "gap": 1.0}))
    assert open_run(config(tmp_path)).result == {"epoch": 3, "gap": 1.0}


def test_another_config_is_refused_with_every_difference(tmp_path: Path) -> None:
    started(tmp_path)
    with pytest.raises(UsageError) as info:
        open_run(config(tmp_path, schedule__lr=0.2, schedule__ema=0.9))
    message = str(info.value)
    assert "schedule.lr: 0.1 in the run, 0.2 asked for" in message
    assert "schedule.ema: None in the run, 0.9 asked for" in message
    assert "overwrite=true" in message
    assert "name=NAME" in message
    assert "seed" not in message


def test_keys_that_do_not_change_the_result_may_change(tmp_path: Path) -> None:
    started(tmp_path)
    open_run(config(tmp_path, data__workers=7, eval__backend="faster", device="cpu", logger={"wandb": True}))


def test_an_option_that_an_assigner_gained_has_its_default_in_an_older_run() -> None:
    older = {"assigner": {"_target_": "assigners.TaskAligned", "topk": 13}}
    same = {"assigner": {**older["assigner"], "keep": None, "min_points": 0}}
    assert differences(older, same) == []
    other = {"assigner": {**older["assigner"], "keep": None, "min_points": 1}}
    assert differences(older, other) == ["assigner.min_points: absent in the run, 1 asked for"]
    unknown = {"assigner": {**older["assigner"], "other": 1}}
    assert differences(older, unknown) == ["assigner.other: absent in the run, 1 asked for"]


def test_the_same_name_for_other_data_is_refused(tmp_path: Path) -> None:
    started(tmp_path)
    with pytest.raises(UsageError, match=r"data\.root: a in the run, b asked for"):
        open_run(config(tmp_path, data__root="b"))


def test_overwrite_replaces_the_run_only_when_the_new_one_begins(tmp_path: Path) -> None:
    path = started(tmp_path)
    (path / "last.pt").touch()
    write_text(path / "eval.json", json.dumps({"epoch": 3}))
    other = config(tmp_path, schedule__lr=0.2, overwrite=True)
    run = open_run(other)
    assert (run.resumed, run.result) == (False, None)
    assert (path / "last.pt").exists()
    begin(run, other)
    assert [file.name for file in path.iterdir()] == ["config.yaml"]
    assert read_config(path).schedule.lr == 0.2


def test_overwrite_leaves_files_alone_that_no_run_wrote(tmp_path: Path) -> None:
    started(tmp_path)
    (tmp_path / "runs" / "one" / "thesis.txt").touch()
    begin(open_run(config(tmp_path, overwrite=True)), config(tmp_path))
    assert (tmp_path / "runs" / "one" / "thesis.txt").exists()


@pytest.mark.parametrize("place", ["runs", "runs/one"])
def test_a_file_in_place_of_the_directory_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).touch()
    with pytest.raises(UsageError, match=r"runs/one cannot be written.*runs_dir=DIR"):
        open_run(config(tmp_path))


def test_a_directory_that_is_no_run_is_named_with_the_runs_beside_it(tmp_path: Path) -> None:
    started(tmp_path)
    with pytest.raises(UsageError, match=r"runs/two is not a run directory.*there: one"):
        read_config(tmp_path / "runs" / "two")


def test_differences_and_flatten() -> None:
    assert flatten({"a": {"b": 1, "c": [1, 2]}, "d": None}) == {"a.b": 1, "a.c": [1, 2], "d": None}
    assert differences({"a": 1, "logger": {"wandb": True}}, {"a": 1, "logger": {"wandb": False}}) == []
    assert differences({"database": 1}, {}) == ["database: 1 in the run, absent asked for"]


def test_text_is_written_whole(tmp_path: Path) -> None:
    write_text(tmp_path / "a.json", "{}")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
