"""Evaluation of a checkpoint, apart from training."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from data.loader import eval_loader
from detector.folded import folded
from engine import distributed
from engine.config.compose import ALL, check, replace_options
from engine.evaluator import Evaluator
from engine.log.pictures import draw_predictions
from engine.log.progress import ProgressBar
from engine.log.report import print_result
from engine.run import checkpoint
from engine.run.directory import checkpoint_file, write_text
from engine.run.lock import locked
from engine.setup import bf16, build_dataset, choose_device, trained_model
from engine.trainer import metric
from errors import UsageError


def evaluate_checkpoint(options: DictConfig) -> float:
    """Evaluates what eval.yaml names and writes eval.json, predictions*.json and a picture.

    Under torchrun the processes share the images.

    Raises:
        UsageError: if checkpoint, data and classes do not fit together.
    """
    distributed.join()
    with ExitStack() as held:
        return _evaluate(options, held)


def _evaluate(options: DictConfig, held: ExitStack) -> float:
    with distributed.agreed():
        path = checkpoint_file(options)
        state = checkpoint.load(path)
        config = OmegaConf.create(state["config"])
        directory = _place_of_results(options, path, replace_options(config, options))
        check(config)
        if distributed.is_main():
            held.enter_context(locked(directory, "out=DIR"))
        device = distributed.own_device(choose_device(options.device))
        dataset = build_dataset(config.data, "val", config.seed)
        model = trained_model(state, path, dataset, device)
        model.use(config.eval.predictor, config.eval.peak_window)
        place: Any = {"rank": distributed.rank(), "ranks": distributed.ranks(), "pin": device.type == "cuda"}
        batches = eval_loader(dataset, config.eval.batch_size, config.data.workers, **place)
        in_bf16 = bf16(options.precision or config.precision, device, model)
        evaluator = Evaluator(dataset, batches, config.eval, device, in_bf16)
    console = Console(quiet=not distributed.is_main())
    with ProgressBar(console, "evaluating", len(batches)) as bar:
        evaluation = evaluator(folded(model), bar.advance)
    if distributed.is_main():
        evaluation.write(directory, epoch=state["epoch"], name=config.name, checkpoint=path.name)
        if not (directory / "last.pt").exists():  # not the run itself
            _describe(directory, config, path.parent / "metrics.jsonl")
        draw_predictions(model, dataset, directory / "pictures" / "predictions.png", device)
    print_result(console, f"{config.name} on {config.data.name}", evaluation.summary, str(directory))
    return metric(evaluation.summary, config)


def _describe(directory: Path, config: DictConfig, metrics: Path) -> None:
    """Leaves beside the results what tools.compare reads of a run, so that they can be a row of a table.

    Args:
        config: of the run, with the options of this evaluation.
        metrics: the log of the run's training, if it has one.
    """
    write_text(directory / "config.yaml", OmegaConf.to_yaml(config, resolve=True))
    if metrics.is_file():
        shutil.copyfile(metrics, directory / "metrics.jsonl")


def _place_of_results(options: DictConfig, path: Path, given: Iterable[str]) -> Path:
    """The folder of the results, made if it is not there.

    The eval.json of a run is what a repeated train.py returns, so it is only written with the run's own data,
    options and checkpoint.
    """
    same = options.checkpoint is None and options.precision is None and all(ALL[key].free for key in given)
    own = options.run if options.run is not None and same else path.with_suffix(".eval")
    directory = Path(options.out or own)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{directory} cannot be written ({error.strerror}): choose another out=DIR"
        ) from error
    return directory
