"""What `engine.host` gains: training steps of train.py with its settings of memory and without, in turns.

    python -m benchmarks.training.host                             # the demo: FCOS with LCNet on drawn shapes
    python -m benchmarks.training.host words=[model=picodet_s,assigner=tal]

Each turn is a process of its own, since the settings are those of a process. The short spin of OpenMP is set
in both.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.core.process import output_of
from benchmarks.core.turns import machine, table, write
from command_line import option, run

ROOT = Path(__file__).parents[2]
HOST, SYSTEM = "engine.host", "as the system sets it"
TRAIN = "import runpy; runpy.run_path('train.py', run_name='__main__')"
WITHOUT = "import sys, types; sys.modules['engine.host'] = types.ModuleType('none')"
CODE = {SYSTEM: f"{WITHOUT}; {TRAIN}", HOST: TRAIN}


@dataclass
class Options:
    """What the command line can set."""

    words: list[str] = option(["assigner=o2f"], help="of the training")
    steps: int = option(100, least=2, help="of each process, after as many that are not counted")
    repeats: int = option(3, least=1, help="turns")
    out: str = option("benchmarks/results/training", help="folder of host.json and host.md")


def step_seconds(code: str, options: Options) -> float:
    """The mean seconds of a step in one process."""
    with TemporaryDirectory() as folder:
        own = (
            "logger=none",
            "name=run",
            f"runs_dir={folder}",
            "schedule.epochs=2",
            f"max_steps={options.steps}",
        )
        line = [sys.executable, "-c", code, *options.words, *own]
        environment = {"GOMP_SPINCOUNT": "20000", **os.environ, "PYTHONPATH": str(ROOT)}
        output_of(line, ROOT, environment)
        rows = [json.loads(row) for row in Path(folder, "run", "metrics.jsonl").read_text().splitlines()]
    timed = [row for row in rows if "train/step_seconds" in row and row["step"] > options.steps]
    return float(sum(row["train/step_seconds"] for row in timed)) / options.steps


def bench(options: Options) -> None:
    """Measures, prints the table and writes it."""
    found: dict[str, list[float]] = {name: [] for name in CODE}
    for _ in range(options.repeats):
        for name, code in CODE.items():
            found[name].append(step_seconds(code, options))
    times = {name: median(own) for name, own in found.items()}
    ratio = median(slow / fast for slow, fast in zip(found[SYSTEM], found[HOST], strict=True))
    lines = [[name, f"{seconds * 1e3:.0f}"] for name, seconds in times.items()]
    about = (
        f"`train.py {' '.join(options.words)}`, {options.steps} steps. Median of {options.repeats} turns, "
        f"{machine()}. Median ratio: {ratio:.2f}."
    )
    report = {"seconds": found, "ratios": {f"{SYSTEM} / {HOST}": ratio}}
    write(report, f"{about}\n\n{table(('memory', 'ms of a step'), lines)}", options.out, "host")


def main(words: Sequence[str] | None = None) -> None:
    """Times what the command line asks for."""
    run(Options, bench, __doc__, words)


if __name__ == "__main__":
    main()
