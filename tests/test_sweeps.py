"""Sweeps: the jobs that a command line means, and what becomes of the others when one of them fails."""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from engine.config.compose import check
from engine.run.directory import differences
from engine.setup import build_assigner
from engine.sweep import Job, SweepReport, list_jobs, report
from tests.helpers.tiny_run import ROOT, TINY_RUN

Command = Callable[..., subprocess.CompletedProcess[str]]
Compose = Callable[..., DictConfig]
ASSIGNERS = ("atss", "simota", "tal", "o2f")


def jobs_of(*words: str) -> list[Job]:
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        return list_jobs(sweep_config(*words))


def sweep_config(*words: str) -> DictConfig:
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    return hydra.compose_config("train", [*words, "hydra.mode=MULTIRUN"], RunMode.MULTIRUN)


def start(*words: str) -> None:
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        SweepReport().on_multirun_start(sweep_config(*words))


def names(jobs: list[Job]) -> list[str]:
    assert len({job.path for job in jobs}) == len(jobs)
    return [job.name for job in jobs]


def test_sweep_over_assigners() -> None:
    expected = [f"shapes-fcos_lcnet-{name}-seed0" for name in ASSIGNERS]
    assert names(jobs_of("+sweep=assigners")) == expected


def test_the_sweep_of_the_gap() -> None:
    rows = ("o2f", "o2f_window", "o2f_max_filter", "poto_3dmf_aux", "dual_tal", "dual_o2f", "tal", "atss")
    jobs = jobs_of("+sweep=gap", "data.root=x", "data.name=own", "schedule.epochs=9")
    assert names(jobs) == [f"own-picodet_s-{row}-seed{seed}" for row in rows for seed in range(3)]


def test_sweep_over_seeds() -> None:
    jobs = jobs_of("+sweep=seeds", "assigner=tal", "data.crowd=1")
    assert names(jobs) == [f"shapes-fcos_lcnet-tal-seed{seed}" for seed in range(3)]
    assert all("data.crowd=1" in job.words for job in jobs)


def test_sweeps_combine() -> None:
    jobs = jobs_of("+sweep=[assigners,recipes]", "experiment=small", "data.root=x", "data.name=own")
    expected = {
        f"own-fcos_mobilenet-{name}{recipe}-seed0" for name in ASSIGNERS for recipe in ("", "-controlled")
    }
    assert set(names(jobs)) == expected
    assert len(jobs) == len(expected)


def test_a_word_of_the_command_line_replaces_that_of_the_sweep() -> None:
    expected = [f"shapes-fcos_lcnet-{name}-seed5" for name in ("tal", "o2f")]
    assert names(jobs_of("+sweep=[assigners,seeds]", "assigner=tal,o2f", "seed=5")) == expected


def test_every_experiment_and_dry_run_keeps_recipes_apart() -> None:
    experiments = sorted(file.stem for file in (ROOT / "configs" / "experiment").glob("*.yaml"))
    for words in [(f"experiment={name}", "data.root=x") for name in experiments] + [("debug=steps",)]:
        assert len(names(jobs_of("+sweep=recipes", *words))) == 2


def test_the_ablation_changes_one_option_at_a_time(composed: Compose) -> None:
    plain = composed("assigner=o2f")
    jobs = jobs_of("+sweep=ablation_o2f")
    assert names(jobs)[0] == plain.name
    options = []
    for job in jobs:
        config = composed(*job.words)
        check(config)
        build_assigner(config)
        changed = differences(OmegaConf.to_container(plain.assigner), OmegaConf.to_container(config.assigner))
        changed = [line.partition(":")[0] for line in changed if not line.startswith("name")]
        assert len(changed) == (job is not jobs[0])
        assert all(f"-{option}" in job.name for option in changed)
        options += changed
        assert config.loss == plain.loss
    assert set(options) == {"topk", "alpha", "t_max", "t_min", "soft_weight"}


def test_a_name_may_take_up_what_is_swept() -> None:
    jobs = jobs_of("assigner.topk=3,5", "assigner.name=o2f-topk${assigner.topk}")
    assert names(jobs) == [f"shapes-fcos_lcnet-o2f-topk{k}-seed0" for k in (3, 5)]
    jobs = jobs_of("schedule.lr=0.001,0.002", "setting=${data.name}-lr${schedule.lr}")
    assert names(jobs) == [f"shapes-lr{lr}-o2f-seed0" for lr in (0.001, 0.002)]


def test_jobs_that_share_a_directory_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as info:
        start("assigner.topk=3,7", "seed=0,1")
    assert info.value.code == 1
    message = capsys.readouterr().err
    assert "share the run directory runs/shapes-fcos_lcnet-o2f-seed0:" in message
    assert "\n  assigner.topk=3\n  assigner.topk=7\n" in message
    assert "'assigner.name=o2f-topk${assigner.topk}'" in message


def test_a_cluster_without_its_plugin_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "hydra_plugins", None)
    with pytest.raises(SystemExit) as info:
        start("+sweep=assigners", "hydra/launcher=slurm")
    assert info.value.code == 1
    assert "pip install hydra-submitit-launcher" in capsys.readouterr().err


def test_the_report_names_every_job(tmp_path: Path) -> None:
    jobs = [Job((f"assigner={name}", "a={b: 1}"), f"run-{name}", tmp_path) for name in ASSIGNERS]
    (tmp_path / "0.json").write_text(json.dumps({"nms": 41.25, "nms_free": None}))
    (tmp_path / "1.json").write_text(json.dumps({"reason": "no [data]\nhere", "trace": False}))
    (tmp_path / "2.json").write_text(json.dumps({"reason": "KeyError: 3", "trace": True}))
    text = io.StringIO()
    report(jobs, tmp_path, Console(file=text, width=100))
    rows = [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in text.getvalue().splitlines()
        if "│" in line
    ]
    assert rows == [
        ["run-atss", "41.2", "-", "finished"],
        ["run-simota", "-", "-", "failed"],
        ["run-tal", "-", "-", "failed"],
        ["run-o2f", "-", "-", "not finished"],
    ]
    below = text.getvalue().partition("2 of 4 jobs failed:\n")[2]
    assert "  assigner=simota 'a={b: 1}'\n    no [data]\n    here\n" in below
    assert f"    KeyError: 3\n    its stack trace: {tmp_path}/2.txt\n" in below


SWEEP = (
    "-m",
    "assigner.topk=7,0,3,5",
    "assigner.name=o2f-topk${assigner.topk}",
    *TINY_RUN,
    "schedule.epochs=1",
)


def test_one_failed_job_does_not_stop_the_others(command: Command, tmp_path: Path) -> None:
    runs = {k: tmp_path / "runs" / f"shapes-fcos_lcnet-o2f-topk{k}-seed0" for k in (7, 0, 3, 5)}
    blocked = runs[3] / "config.yaml.partial"
    blocked.mkdir(parents=True)  # what no check foresees

    first = command("train.py", *SWEEP)
    assert first.returncode == 1
    assert [(run / "eval.json").exists() for run in runs.values()] == [True, False, False, True]
    head, _, failures = first.stdout.partition("2 of 4 jobs failed:")
    assert head.count("│ finished") == 2
    assert head.count("│ failed") == 2
    assert "assigner.topk=0 " in failures
    assert "topk must be at least 1, got 0" in failures
    assert "IsADirectoryError" in failures
    (trace,) = (tmp_path / "runs" / ".sweeps").glob("*/*.txt")
    assert trace.name == "2.txt"
    assert str(trace) in failures
    assert "Traceback" in trace.read_text()
    assert trace.read_text() in first.stderr  # said at once, too

    blocked.rmdir()
    second = command("train.py", *SWEEP)
    assert second.returncode == 1
    assert second.stdout.count("is finished; overwrite=true starts it anew") == 2
    assert "1 of 4 jobs failed:" in second.stdout
    assert "Traceback" not in second.stderr
    assert (runs[3] / "eval.json").exists()


def test_slurm_options_are_those_of_the_plugin() -> None:
    plugin = pytest.importorskip("hydra_plugins.hydra_submitit_launcher.config")
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        launcher = sweep_config("+sweep=assigners", "hydra/launcher=slurm").hydra.launcher
        known = {field.name for field in dataclasses.fields(plugin.SlurmQueueConf)}
        assert set(launcher) <= known
        assert launcher._target_ == plugin.SlurmQueueConf._target_


def test_jobs_in_processes_of_their_own_report_back(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    line = [sys.executable, "train.py", *SWEEP, "assigner.topk=0,3", "hydra/launcher=submitit_local"]
    result = subprocess.run(
        [*line, f"runs_dir={tmp_path}/runs"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 1
    assert "1 of 2 jobs failed:" in result.stdout
    assert result.stdout.count("│ finished") == 1
