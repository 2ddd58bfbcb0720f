"""Runs the other scripts small and names the ratios that have fallen since they were stored.

    make bench              # all; exit status 1 if a ratio fell by more than a fifth
    make bench-store        # stores the ratios instead
    python -m benchmarks.guard training.step data.loading    # these; with store=true their ratios are stored

Ratios are of calls of one run that took turns, and more is better; times are not kept. A script with a fallen
ratio runs again, up to `tries` times, and the best of each ratio counts, since other work on the machine may
lower one. What this machine cannot measure (a library that is not installed) is named.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from omegaconf import OmegaConf
from rich.console import Console

from benchmarks.core.turns import machine
from command_line import option, run
from data.shapes.dataset import ShapesDataset
from engine.config.compose import compose_config
from engine.record import for_inference
from engine.run import checkpoint
from engine.setup import build_model
from errors import UsageError

ROOT = Path(__file__).parents[1]
FALL = 0.8  # of the stored ratio
# The scripts and their words: enough work that a ratio stands out of its noise, some minutes together.
SMALL: dict[str, tuple[str, ...]] = {
    "assigners.adapters": ("boxes=[7]", "repeats=5"),
    "assigners.floor": ("case=7 boxes", "repeats=5"),
    "assigners.launches": ("boxes=[7,100]",),
    "assigners.linear": ("boxes=[16,128]", "repeats=5"),
    "assigners.share": ("batch=1", "size=320", "repeats=5"),
    "assigners.speed": ('cases=["x16, 7 boxes"]', "assigners=[o2f]", "repeats=5"),
    "data.loading": ("images=16", "repeats=3"),
    "data.start": ("images=10000", "boxes=70000", "repeats=3"),
    "evaluation.backends": ("images=500", "truths=3600", "repeats=3"),
    "evaluation.bootstrap": ("images=500", "resamples=200"),
    "inference.deploy": ("threads=[1]", "repeats=5"),
    "inference.fold": ("models=[picodet_s]", "repeats=9"),
    "inference.select": ("images=[8]", "candidates=[100,1000]"),
    "training.host": ("steps=50",),
    "training.memory": ("images=2", "size=192", "precisions=[float32]"),
    "training.step": ("images=2", "size=192", "repeats=5"),
    "training.winograd": ("channels=[256]", "sides=[40]", "repeats=5"),
}


@dataclass
class Options:
    """What the command line can set."""

    scripts: list[str] = option(help="names of scripts, all by default", words=True)
    store: bool = option(False, help="store the ratios instead of comparing them")
    stored: str = option("benchmarks/results/ratios.json", help="file of the stored ratios")
    tries: int = option(3, least=1, help="runs of a script whose ratios fall")


def ratios(script: str, words: Sequence[str]) -> dict[str, float]:
    """The ratios of one run of a script in a process of its own.

    Raises:
        RuntimeError: if it fails, with what it printed.
    """
    with TemporaryDirectory() as folder:
        words = [*words, f"out={folder}/out"]
        if script == "inference.deploy":
            words.append(f"checkpoint={untrained(Path(folder))}")
        line = [sys.executable, "-m", f"benchmarks.{script}", *words]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(line)} failed:\n{done.stdout}{done.stderr}")
        (file,) = Path(folder, "out").glob("*.json")
        found: dict[str, float] = json.loads(file.read_text())["ratios"]
        return found


def untrained(folder: Path) -> Path:
    """The checkpoint of a PicoDet-S with random weights."""
    config = compose_config("data=shapes", "model=picodet_s", "model.backbone.weights=null")
    classes = list(ShapesDataset.class_names)
    weights = build_model(config, len(classes)).state_dict()
    plain = OmegaConf.to_container(config, resolve=True)
    state = {"config": plain, "classes": classes, "epoch": 0, "weights": weights}
    file = folder / "untrained.pt"
    checkpoint.save(file, state | for_inference(config, classes, range(1, len(classes) + 1)))
    return file


def best(script: str, words: Sequence[str], stored: Mapping[str, float], tries: int) -> dict[str, float]:
    """The best of each ratio in as many runs as it takes until none is fallen, at most `tries`."""
    found: dict[str, float] = {}
    for _ in range(tries):
        for name, ratio in ratios(script, words).items():
            found[name] = max(ratio, found.get(name, ratio))
        if not fallen(found, stored):
            break
    return found


def fallen(found: Mapping[str, float], stored: Mapping[str, float]) -> list[str]:
    """The names of ratios that fell by more than a fifth."""
    return [name for name in found if name in stored and found[name] < FALL * stored[name]]


def bench(options: Options) -> None:
    """Runs the scripts; stores their ratios, or prints them beside the stored ones.

    Raises:
        UsageError: for an unknown script or, when comparing, without stored ratios.
        SystemExit: with status 1 if a ratio fell.
    """
    names, file = options.scripts or list(SMALL), Path(options.stored)
    unknown = [name for name in names if name not in SMALL]
    if unknown:
        raise UsageError(f"{unknown[0]} is not a script of the guard: choose from {', '.join(SMALL)}")
    if not options.store and not file.is_file():
        raise UsageError(f"{file} is not there: store=true measures and stores the ratios first")
    stored = json.loads(file.read_text()) if file.is_file() else {"ratios": {}}
    console, downs, missing = Console(), [], []
    for name in names:
        before = {} if options.store else stored["ratios"].get(name, {})
        with console.status(name):
            found = best(name, SMALL[name], before, 1 if options.store else options.tries)
        if options.store:
            stored["ratios"][name] = {key: float(f"{ratio:.3g}") for key, ratio in found.items()}
        for key, ratio in found.items():
            against = f", stored {before[key]:.2f}" if key in before else ""
            console.print(f"{name}: {key}: {ratio:.2f}{against}", soft_wrap=True, markup=False)
        downs += [f"{name}: {key}" for key in fallen(found, before)]
        missing += [f"{name}: {key}" for key in before if key not in found]
    if options.store:
        file.write_text(json.dumps({**stored, "machine": machine()}, indent=1) + "\n")
        console.print(f"written: {file}", markup=False)
        return
    console.print(f"stored on {stored['machine']}; this is {machine()}", soft_wrap=True, markup=False)
    for key in missing:
        console.print(f"not measured here: {key}", soft_wrap=True, markup=False)
    if downs:
        console.print("fell by more than a fifth:", *downs, sep="\n  ", soft_wrap=True, markup=False)
        sys.exit(1)


def main(words: Sequence[str] | None = None) -> None:
    """Compares or stores what the command line asks for."""
    run(Options, bench, __doc__, words)


if __name__ == "__main__":
    main()
