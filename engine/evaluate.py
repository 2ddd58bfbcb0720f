"""Evaluation of a checkpoint, apart from training."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from data.loader import eval_loader
from engine import checkpoint, distributed
from engine.evaluator import Evaluator
from engine.pictures import draw_predictions
from engine.progress import ProgressBar
from engine.report import print_result
from engine.run import read_config
from engine.setup import bf16, build_dataset, check, choose_device, trained_model
from engine.trainer import metric
from errors import UsageError


def evaluate_checkpoint(options: DictConfig) -> float:
    """Evaluates what eval.yaml names and writes eval.json, predictions*.json and a picture.

    Under torchrun the processes share the images.

    Raises:
        UsageError: if checkpoint, data and classes do not fit together.
    """
    distributed.join()
    with distributed.agreed():
        path, directory = _what_and_where(options)
        state = checkpoint.load(path)
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"{directory} cannot be written ({error.strerror}): choose another out=DIR"
            ) from error
        config = OmegaConf.create(state["config"])
        assert isinstance(config, DictConfig)
        data = options.get("data")  # a group that was not chosen leaves no key
        if data is not None:
            config.data = data
        if options.eval is not None:
            unknown = sorted(str(key) for key in options.eval if key not in config.eval)
            if unknown:
                raise UsageError(
                    f"eval has no {', '.join(unknown)}; it has {', '.join(map(str, config.eval))}"
                )
            config.eval = OmegaConf.merge(config.eval, options.eval)
        check(config)
        device = distributed.own_device(choose_device(options.device))
        dataset = build_dataset(config.data, "val", config.seed)
        model = trained_model(state, path, dataset, device)
        model.use(config.eval.get("predictor"), config.eval.get("peak_window"))
        place = {"rank": distributed.rank(), "ranks": distributed.ranks()}
        batches = eval_loader(dataset, config.eval.batch_size, config.data.workers, **place)
        evaluator = Evaluator(
            dataset, batches, config.eval, device, bf16(options.precision or config.precision, device)
        )
    console = Console(quiet=not distributed.is_main())
    with ProgressBar(console, "evaluating", len(batches)) as bar:
        evaluation = evaluator(model, bar.advance)
    if distributed.is_main():
        evaluation.write(directory, epoch=state["epoch"], name=config.name, checkpoint=path.name)
        draw_predictions(model, dataset, directory / "pictures" / "predictions.png", device)
    print_result(console, f"{config.name} on {config.data.name}", evaluation.summary, str(directory))
    return metric(evaluation.summary, config)


def _what_and_where(options: DictConfig) -> tuple[Path, Path]:
    """The checkpoint file and the directory of the results."""
    if options.run is None and options.checkpoint is None:
        raise UsageError("nothing to evaluate: give run=runs/NAME or checkpoint=FILE")
    if options.run is not None:
        read_config(Path(options.run))  # names the runs that are there if this is none
    path = Path(options.checkpoint) if options.checkpoint else Path(options.run) / "last.pt"
    # A run's own eval.json is what a repeated train.py returns: other data or options do not belong there.
    changes = ("checkpoint", "data", "eval", "precision")
    own = options.run is not None and all(options.get(key) is None for key in changes)
    return path, Path(options.out or (options.run if own else path.with_suffix(".eval")))
