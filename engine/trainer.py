"""Training, top to bottom: what a run does between its config and its result.

python train.py assigner=o2f
torchrun --nproc-per-node=8 train.py assigner=o2f
"""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from data.loader import Batch, eval_loader, train_loader
from detector.detector import TrainedPredictors
from detector.summary import summary
from engine import checkpoint, distributed
from engine.config import check
from engine.evaluator import Evaluation, Evaluator
from engine.initial_weights import start_from
from engine.interruption import Interruption
from engine.pictures import draw_predictions
from engine.predictors import build_supervisions
from engine.progress import ProgressBar
from engine.record import for_inference
from engine.report import print_result, show
from engine.run import Run, begin, open_run
from engine.schedule import progress
from engine.setup import bf16, build_dataset, build_model, choose_device, sides
from engine.state import State
from engine.tracking import Tracker, open_tracker
from errors import UsageError, listed

log = logging.getLogger(__name__)
SAVE_EVERY = 600.0  # seconds of training that a crash may cost
LOG_EVERY = 20  # batches


def train(config: DictConfig) -> float:
    """Runs or continues the run of this config; under torchrun, this process's part of it.

    Returns:
        The AP that `eval.metric` names, 0-100; the stored one if the run is finished.

    Raises:
        UsageError: for anything wrong with config, data or directory, before training starts.
        KeyboardInterrupt: after saving, when it is interrupted.
    """
    distributed.join()
    with distributed.agreed():
        check(config)
    console = Console(quiet=not distributed.is_main())
    run = distributed.on_main(lambda: open_run(config))
    if run.result is not None:
        console.print(f"{run.path} is finished; overwrite=true starts it anew", soft_wrap=True)
        print_result(console, config.name, run.result, str(run.path))
        return metric(run.result, config)
    with distributed.agreed():
        trainer = Trainer(config, run, console)
    return trainer.run()


def metric(summary: dict[str, Any], config: DictConfig) -> float:
    """The AP that a sweep compares; 0 where there is nothing to measure."""
    return float(summary[config.eval.metric]["AP"] or 0.0)


class Trainer:
    """One run: its parts, its state and its loop."""

    def __init__(self, config: DictConfig, run: Run, console: Console) -> None:
        self.config, self.directory, self.console = config, run, console
        schedule: Any = OmegaConf.to_container(config.schedule, resolve=True)
        self.device = distributed.own_device(choose_device(config.device))
        self.bf16 = bf16(config.precision, self.device)
        torch.manual_seed(config.seed)
        # All input is checked here, before the first step.
        self.train_set = build_dataset(config.data, "train", config.seed, config.schedule.epochs)
        self.val_set = build_dataset(config.data, "val", config.seed)
        if self.train_set.class_names != self.val_set.class_names:
            raise UsageError(
                f"the splits differ in classes: train has {listed(self.train_set.class_names)}; "
                f"val has {listed(self.val_set.class_names)}: use one category list for both files"
            )
        self.supervisions = build_supervisions(config, self.device)
        model = build_model(config, len(self.train_set.class_names))
        short = config.data.eval_short
        size = (short, short if config.data.square else config.data.eval_long)
        console.print(summary(model, config.model.name, *size), soft_wrap=True, highlight=False)
        # A run that is continued has weights of its own.
        if config.init is not None and not run.resumed:
            started = start_from(Path(str(config.init)), model, self.train_set.class_names)
            console.print(started, soft_wrap=True, markup=False)
        model = model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        place = {"rank": distributed.rank(), "ranks": distributed.ranks()}
        workers, batch_size = config.data.workers, distributed.share(config.schedule.batch_size)
        self.batches = train_loader(
            self.train_set,
            batch_size,
            workers,
            config.seed,
            accumulate=config.schedule.accumulate,
            sides=sides(config.data) if config.data.square else (),
            **place,
        )
        batches = eval_loader(self.val_set, config.eval.batch_size, workers, **place)
        self.evaluator = Evaluator(self.val_set, batches, config.eval, self.device, self.bf16)
        self.eval_batches = len(batches)

        steps = -(-len(self.batches) // config.schedule.accumulate)
        self.state = State(model, schedule, steps)
        self.interruption = Interruption(console.print)
        if not distributed.is_main():
            torch.manual_seed(config.seed + distributed.rank())  # equal weights, but not equal dropout

    def run(self) -> float:
        """All epochs that are left, then the result."""
        distributed.on_main(lambda: begin(self.directory, self.config))
        if self.directory.resumed:
            self._restore()
        names = dict.fromkeys(supervision.source for supervision in self.supervisions)
        self.network = distributed.parallel(TrainedPredictors(self.state.model, list(names)), self.device)
        epochs = self.config.schedule.epochs
        tracker = open_tracker(self.directory.path, self.config, self.state.step)
        with tracker, self.interruption:
            evaluation = None
            while self.state.epoch < epochs:
                self._train_epoch(tracker)
                self.state.epoch, self.state.batch = self.state.epoch + 1, 0
                self._save()
                evaluation = None
                if self.state.epoch % self.config.eval.every == 0 or self.state.epoch == epochs:
                    evaluation = self._evaluate(tracker)
                    self._save()  # again: the evaluation may have raised `best`
            # A run that was cut off between its last epoch and its result comes here directly.
            evaluation = evaluation or self._evaluate(tracker)
            return self._finish(evaluation, tracker)

    def _train_epoch(self, tracker: Tracker) -> None:
        config, epochs = self.config, self.config.schedule.epochs
        done = progress(self.state.epoch, epochs)
        length = min(len(self.batches), config.max_steps or len(self.batches))
        self.state.model.train()
        saved = waiting = time.monotonic()
        seconds = {"data": 0.0, "step": 0.0}
        with ProgressBar(
            self.console, f"epoch {self.state.epoch + 1}/{epochs}", length, self.state.batch
        ) as bar:
            for batch in self.batches.epoch(self.state.epoch, self.state.batch):
                if self.state.batch >= length:
                    break
                started = time.monotonic()
                for problem in batch.problems:
                    log.warning("replaced by the next image: %s", problem)
                losses = self._train_batch(batch.to(self.device), done, last=self.state.batch + 1 == length)
                self.state.batch += 1
                now = time.monotonic()
                seconds["data"] += started - waiting
                seconds["step"] += now - started
                waiting = now
                if self.state.batch % LOG_EVERY == 0 or self.state.batch == length:
                    values = self._numbers(self._means(losses), seconds, done)
                    tracker.log(self.state.step, values)
                    bar.show(f"loss {values['train/loss']:.3f}  lr {values['train/lr']:.1e}")
                bar.advance()
                # Gradients are not saved, so a run is only cut where none are waiting for a step.
                if self.state.batch % config.schedule.accumulate == 0 or self.state.batch == length:
                    asked, due = distributed.any_rank(self.interruption.asked, now - saved > SAVE_EVERY)
                    if asked or due:
                        self._means(losses)
                        self._save()
                        saved = now
                    if asked:
                        distributed.end(KeyboardInterrupt())

    def _train_batch(self, batch: Batch, done: float, last: bool) -> dict[str, torch.Tensor]:
        """Forward, assign, backward, and at the end of an accumulation a step of the optimizer."""
        accumulate = self.config.schedule.accumulate
        complete = last or (self.state.batch + 1) % accumulate == 0
        with distributed.exchange(self.network, now=complete):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                outputs = self.network(batch.images_B3HW)
            losses: dict[str, torch.Tensor] = {}
            for supervision in self.supervisions:
                losses |= supervision.losses(outputs, batch, done)
            (sum(losses.values()) / accumulate).backward()
        if complete:
            self.state.update()
        return {name: loss.detach() for name, loss in losses.items()}

    def _means(self, losses: dict[str, torch.Tensor]) -> dict[str, float]:
        """The losses over all ranks. Raises before weights that are lost reach a checkpoint."""
        sums = distributed.sum_over_ranks(torch.stack(list(losses.values()))).tolist()
        means = {name: value / distributed.ranks() for name, value in zip(losses, sums, strict=True)}
        loss = sum(means.values())
        if not math.isfinite(loss):
            error = f"the loss is {loss} at step {self.state.step}: lower schedule.lr "
            error += f"(now {self.config.schedule.lr}) or set schedule.clip_norm; "
            distributed.end(UsageError(error + "a checkpoint from before is kept"))
        return means

    def _numbers(self, losses: dict[str, float], seconds: dict[str, float], done: float) -> dict[str, Any]:
        values = {f"train/{name}_loss": loss for name, loss in losses.items()}
        values["train/loss"] = sum(losses.values())
        values["train/lr"] = self.state.optimizer.param_groups[0]["lr"]
        values["train/epoch"] = self.state.epoch + self.state.batch / len(self.batches)
        values["train/data_seconds"], values["train/step_seconds"] = seconds["data"], seconds["step"]
        for supervision in self.supervisions:
            values |= supervision.numbers(done)
        return values

    def _evaluate(self, tracker: Tracker) -> Evaluation:
        distributed.same_buffers(self.state.result_model)
        with ProgressBar(self.console, "evaluating", self.eval_batches) as bar:
            evaluation = self.evaluator(self.state.result_model, bar.advance)
        summary = evaluation.summary
        results = {"": summary} | {f"{name}/": result for name, result in summary["others"].items()}
        numbers = {
            f"{place}{name}/{key}": value
            for place, result in results.items()
            for name in ("nms", "nms_free")
            for key, value in result[name].items()
            if key != "per_class"
        }
        tracker.log(self.state.step, {**numbers, "gap": summary["gap"], "epoch": self.state.epoch})
        self.console.print(
            f"epoch {self.state.epoch}: AP {show(summary['nms']['AP'])} with NMS, "
            f"{show(summary['nms_free']['AP'])} NMS-free"
        )
        picture = self.directory.path / "pictures" / "predictions.png"
        if distributed.is_main():
            draw_predictions(self.state.result_model, self.val_set, picture, self.device)
        tracker.picture(self.state.step, "predictions", picture)
        if metric(summary, self.config) > self.state.best:
            self.state.best = metric(summary, self.config)
            self._write(self.directory.best, self.state.result())
        return evaluation

    def _finish(self, evaluation: Evaluation, tracker: Tracker) -> float:
        facts = {"epoch": self.state.epoch, "name": self.config.name, "best": self.state.best}
        distributed.on_main(lambda: evaluation.write(self.directory.path, **facts))
        print_result(self.console, self.config.name, evaluation.summary, str(self.directory.path))
        return metric(evaluation.summary, self.config)

    def _save(self) -> None:
        self._write(self.directory.last, self.state.pack())

    def _write(self, path: Path, state: dict[str, Any]) -> None:
        """A checkpoint, with what every one says of its weights."""
        config = OmegaConf.to_container(self.config, resolve=True)
        classes, category_ids = self.train_set.class_names, self.train_set.category_ids
        facts = {"config": config, "classes": list(classes)}
        facts |= for_inference(self.config, classes, category_ids)
        distributed.on_main(lambda: checkpoint.save(path, facts | state))

    def _restore(self) -> None:
        path = self.directory.last
        with distributed.agreed():
            packed = checkpoint.load(path)
            if packed["classes"] != list(self.train_set.class_names):
                raise UsageError(
                    f"{path} was trained on other classes than the data has: overwrite=true starts anew"
                )
            self.state.unpack(packed, path)
        where = f"epoch {self.state.epoch}, batch {self.state.batch}"
        self.console.print(f"continuing {self.directory.path} at {where}", soft_wrap=True)
        before, now = len(packed["random"]), distributed.ranks()
        if before != now:
            self.console.print(
                f"{now} processes in place of {before}: the same batches, but not the same bits"
            )
