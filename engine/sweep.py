"""A sweep as a whole: its jobs are known before the first one starts, and one table ends it.

Hydra starts the jobs, here or on a cluster, and goes on after one that failed. A job may run on another
machine than the report, so what became of it lies in runs/.sweeps/<time>/: <number>.json, and for a bug its
stack trace beside it, <number>.txt.
"""

from __future__ import annotations

import atexit
import importlib.util
import itertools
import json
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from engine.log.report import show
from engine.run.directory import write_text


@dataclass(frozen=True)
class Job:
    """One job: the words of its command line and the run directory that they lead to."""

    words: tuple[str, ...]
    name: str
    path: Path


def in_sweep() -> bool:
    """Whether this process runs a job of a sweep."""
    return HydraConfig.initialized() and HydraConfig.get().mode is RunMode.MULTIRUN


def is_rank_0() -> bool:
    """As engine.distributed.is_main, known from torchrun's variable: importing torch takes seconds."""
    return os.environ.get("RANK", "0") == "0"


def record_result(config: DictConfig) -> None:
    """Leaves both APs of a finished run for the report. A single run needs none."""
    if in_sweep() and is_rank_0():
        result = json.loads((Path(config.runs_dir) / str(config.name) / "eval.json").read_text())
        _write({name: result[name]["AP"] for name in ("nms", "nms_free")})


def record_failure(reason: str, trace: str) -> None:
    """Leaves what ended this job for the report. A single run needs none.

    Args:
        reason: the message of the error.
        trace: its stack trace, empty for an error that the user can put right.
    """
    if in_sweep():
        if trace:
            write_text(_own_record().with_suffix(".txt"), trace)
        _write({"reason": reason, "trace": bool(trace)})


def _write(record: dict[str, Any]) -> None:
    write_text(_own_record(), json.dumps(record) + "\n")


def _own_record() -> Path:
    hydra = HydraConfig.get()
    return Path(hydra.runtime.output_dir) / f"{hydra.job.num}.json"


class SweepReport(Callback):
    """Refuses a sweep that cannot work before its first job, and reports the jobs at the end."""

    def on_multirun_start(self, config: DictConfig, **rest: Any) -> None:
        _refuse_missing_plugin(config)
        try:
            jobs = list_jobs(config)
        except (HydraException, OmegaConfBaseException):
            return  # Hydra reports the same next, and ends
        _refuse_shared_directories(jobs)
        if jobs and is_rank_0():
            # Hydra has no hook for a sweep with a failed job. This one also comes after Ctrl-C.
            atexit.register(report, jobs, Path(config.hydra.sweep.dir).absolute())


def list_jobs(config: DictConfig) -> list[Job]:
    """The jobs of a sweep in their order; none where another sweeper than Hydra's own chooses them.

    Raises:
        HydraException, OmegaConfBaseException: if a job cannot be composed.
    """
    if not config.hydra.sweeper._target_.endswith(".BasicSweeper"):
        return []
    loader = GlobalHydra.instance().config_loader()
    fixed = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    # Unresolved: "${...}" in a word is meant for each job.
    given: Any = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
    overrides = OverridesParser.create(loader).parse_overrides([*fixed, *given])
    jobs = []
    # A later word for a key takes the place of an earlier one, as in Hydra's sweeper.
    by_key = {override.get_key_element(): _choices(override) for override in overrides}
    for words in itertools.product(*by_key.values()):
        job = loader.load_sweep_config(config, list(words))
        jobs.append(Job(tuple(words), job.name, Path(job.runs_dir) / job.name))
    return jobs


def _choices(override: Override) -> list[str]:
    """The words that a word of the command line stands for: one for each of its values."""
    key = override.get_key_element()
    if not override.is_sweep_override():
        return [f"{key}={override.get_value_element_as_str()}"]
    if not override.is_discrete_sweep():
        raise HydraException(f"{key}: the values of a sweep are a list, such as 1,2,3")
    return [f"{key}={value}" for value in override.sweep_string_iterator()]


def _refuse_missing_plugin(config: DictConfig) -> None:
    package = config.hydra.launcher._target_.rpartition(".")[0]
    try:
        found = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        found = None
    if found is None:
        _refuse("hydra/launcher=slurm needs a plugin of Hydra: pip install hydra-submitit-launcher")


def _refuse_shared_directories(jobs: list[Job]) -> None:
    owners: dict[Path, Job] = {}
    for job in jobs:
        owner = owners.setdefault(job.path, job)
        if owner is not job:
            pair = [" ".join(w for w in a.words if w not in b.words) for a, b in ((owner, job), (job, owner))]
            _refuse(
                f"two jobs of this sweep would share the run directory {job.path}:\n  "
                + ("\n  ".join(pair) if all(pair) else " ".join(job.words))
                + "\nLet their names tell them apart, as in:\n"
                "  assigner.topk=3,5 'assigner.name=o2f-topk${assigner.topk}'\n"
                "  schedule.lr=0.001,0.002 'setting=${data.name}-lr${schedule.lr}'"
            )


def _refuse(message: str) -> None:
    # Hydra makes mere warnings of a callback's exceptions, but lets this one through.
    print(message, file=sys.stderr)
    raise SystemExit(1)


def report(jobs: list[Job], directory: Path, console: Console | None = None) -> None:
    """Prints one row per job, and below it what failed, and why, and how to run it alone.

    Args:
        jobs: all jobs of the sweep.
        directory: where the jobs left their records.
        console: where to print; default: standard output.
    """
    console = console or Console()
    files = [directory / f"{number}.json" for number in range(len(jobs))]
    records = [json.loads(file.read_text()) if file.exists() else None for file in files]
    table = Table(title="sweep")
    table.add_column("run", overflow="fold")
    for heading in ("AP, NMS", "AP, NMS-free"):
        table.add_column(heading, justify="right")
    table.add_column("status")
    for job, record in zip(jobs, records, strict=True):
        if record is None:
            row = "-", "-", "not finished"
        elif "reason" in record:
            row = "-", "-", "[red]failed[/red]"
        else:
            row = show(record["nms"]), show(record["nms_free"]), "finished"
        table.add_row(escape(job.name), *row)
    console.print(table)

    def say(text: str) -> None:
        console.print(text, soft_wrap=True, markup=False, highlight=False)

    failed = {number: record for number, record in enumerate(records) if record and "reason" in record}
    if failed:
        say(f"{len(failed)} of {len(jobs)} jobs failed:")
    for number, record in failed.items():
        say(f"  {shlex.join(jobs[number].words)}")
        say("    " + record["reason"].replace("\n", "\n    "))
        if record["trace"]:
            say(f"    its stack trace: {files[number].with_suffix('.txt')}")
    if None in records or failed:
        say("The same command again continues with what is not finished.")
    say(f"sweep directory: {directory}")
