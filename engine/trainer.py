"""Training, top to bottom: what a run does between its config and its result.

python train.py assigner=o2f
torchrun --nproc-per-node=8 train.py assigner=o2f
"""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from data.loader import Batch
from detector.detector import TrainedPredictors
from detector.folded import folded
from engine import distributed
from engine.config.compose import check
from engine.evaluator import Evaluation
from engine.log.loss_window import LossWindow, sound_means
from engine.log.metrics import evaluation_row
from engine.log.pictures import draw_predictions
from engine.log.progress import ProgressBar
from engine.log.report import print_result, show
from engine.log.tracking import Tracker, open_tracker
from engine.parts import build_parts
from engine.record import for_inference
from engine.run import checkpoint
from engine.run.directory import Run, begin, open_run, run_directory
from engine.run.interruption import Interruption
from engine.run.lock import locked
from engine.schedule import progress
from errors import UsageError

log = logging.getLogger(__name__)
SAVE_EVERY = 600.0  # seconds of training that a crash may cost
LOG_EVERY = 20  # batches
AGREE_EVERY = 10  # optimizer steps, between several processes


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
    with ExitStack() as held:
        distributed.on_main(lambda: held.enter_context(locked(run_directory(config))))
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
        self.parts = build_parts(config, run.resumed, console)
        self.state = self.parts.state
        self.losses = LossWindow()
        self.interruption = Interruption(console.print)

    def run(self) -> float:
        """All epochs that are left, then the result."""
        distributed.on_main(lambda: begin(self.directory, self.config))
        if self.directory.resumed:
            self._restore()
        names = dict.fromkeys(supervision.source for supervision in self.parts.supervisions)
        network = TrainedPredictors(self.state.model, list(names))
        self.network = distributed.parallel(network, self.parts.device, self.config.speed.static_graph)
        epochs, evaluation = self.config.schedule.epochs, None
        place = self.state.step, self.state.evaluated
        with open_tracker(self.directory.path, self.config, *place) as tracker, self.interruption:
            while True:
                # First, since a run may have been cut between an epoch and its evaluation, or within that.
                if self._evaluation_is_due():
                    evaluation = self._evaluate(tracker)
                    self._save()
                if self.state.epoch == epochs:
                    break
                self._train_epoch(tracker)
                self.state.epoch, self.state.batch = self.state.epoch + 1, 0
                self._save()
            assert evaluation is not None  # the last epoch is evaluated, once more if its result is not there
            return self._finish(evaluation, tracker)

    def _evaluation_is_due(self) -> bool:
        epoch = self.state.epoch
        regular = epoch % self.config.eval.every == 0 or epoch == self.config.schedule.epochs
        return regular and self.state.batch == 0 and self.state.evaluated < epoch

    def _train_epoch(self, tracker: Tracker) -> None:
        config, epochs = self.config, self.config.schedule.epochs
        done = progress(self.state.epoch, epochs)
        batches = self.parts.batches
        length = min(len(batches), config.max_steps or len(batches))
        self.state.model.train()
        saved = waiting = time.monotonic()
        seconds = {"data": 0.0, "step": 0.0}
        with ProgressBar(
            self.console, f"epoch {self.state.epoch + 1}/{epochs}", length, self.state.batch
        ) as bar:
            for batch in batches.epoch(self.state.epoch, self.state.batch):
                if self.state.batch >= length:
                    break
                started = time.monotonic()
                for problem in batch.problems:
                    log.warning("replaced by the next image: %s", problem)
                self.losses.add(self._train_batch(batch.to(self.parts.device), done, length))
                self.state.batch += 1
                now = time.monotonic()
                seconds["data"] += started - waiting
                seconds["step"] += now - started
                waiting = now
                if self.state.batch % LOG_EVERY == 0 or self.state.batch == length:
                    values = self._numbers(sound_means(self.losses, self.state.step), seconds, done)
                    self.losses.clear()
                    tracker.log(self.state.step, values)
                    bar.show(f"loss {values['train/loss']:.3f}  lr {values['train/lr']:.1e}")
                bar.advance()
                if self._may_stop(length):
                    asked, due = distributed.any_rank(self.interruption.asked, now - saved > SAVE_EVERY)
                    if asked or due:
                        sound_means(self.losses, self.state.step)
                        self._save()
                        saved = now
                    if asked:
                        distributed.end(KeyboardInterrupt())

    def _may_stop(self, length: int) -> bool:
        """Whether this is a place to save and end: no gradients wait for a step, since they are not saved.

        Several processes must agree, which waits for the slowest of them, so they do it every few steps only.
        """
        if self.state.batch == length:
            return True
        every = AGREE_EVERY if distributed.ranks() > 1 else 1
        return self.state.batch % (self.config.schedule.accumulate * every) == 0

    def _train_batch(self, batch: Batch, done: float, length: int) -> dict[str, torch.Tensor]:
        """Forward, assign, backward, and with the last batch of a group a step of the optimizer.

        Args:
            done: the share of training that is done.
            length: batches of this epoch. The last group may have fewer than `schedule.accumulate`.
        """
        number, accumulate = self.state.batch, self.config.schedule.accumulate
        group = min(accumulate, length - number // accumulate * accumulate)
        complete = (number + 1) % accumulate == 0 or number + 1 == length
        with distributed.exchange(self.network, now=complete):
            with torch.autocast(self.parts.device.type, torch.bfloat16, enabled=self.parts.bf16):
                outputs = self.network(batch.images_B3HW)
            losses: dict[str, torch.Tensor] = {}
            for supervision in self.parts.supervisions:
                losses |= supervision.losses(outputs, batch, done)
            (sum(losses.values()) / group).backward()
        if complete:
            self.state.update()
        return losses

    def _numbers(self, losses: dict[str, float], seconds: dict[str, float], done: float) -> dict[str, Any]:
        values = {f"train/{name}_loss": loss for name, loss in losses.items()}
        values["train/loss"] = sum(losses.values())
        values["train/lr"] = self.state.optimizer.param_groups[0]["lr"]
        values["train/epoch"] = self.state.epoch + self.state.batch / len(self.parts.batches)
        values["train/data_seconds"], values["train/step_seconds"] = seconds["data"], seconds["step"]
        for supervision in self.parts.supervisions:
            values |= supervision.numbers(done)
        return values

    def _evaluate(self, tracker: Tracker) -> Evaluation:
        distributed.same_buffers(self.state.result_model)
        with ProgressBar(self.console, "evaluating", self.parts.eval_batches) as bar:
            # Cut, it is repeated: the checkpoint from before it is there.
            evaluation = self.parts.evaluator(
                folded(self.state.result_model), bar.advance, stop=lambda: self.interruption.asked
            )
        summary = evaluation.summary
        tracker.log(self.state.step, {**evaluation_row(summary), "epoch": self.state.epoch})
        self.console.print(
            f"epoch {self.state.epoch}: AP {show(summary['nms']['AP'])} with NMS, "
            f"{show(summary['nms_free']['AP'])} NMS-free"
        )
        picture = self.directory.path / "pictures" / "predictions.png"
        if distributed.is_main():
            draw_predictions(self.state.result_model, self.parts.val_set, picture, self.parts.device)
        tracker.picture(self.state.step, "predictions", picture)
        if metric(summary, self.config) > self.state.best:
            self.state.best = metric(summary, self.config)
            self._write(self.directory.best, self.state.result())
        self.state.evaluated = self.state.epoch
        return evaluation

    def _finish(self, evaluation: Evaluation, tracker: Tracker) -> float:
        facts = {"epoch": self.state.epoch, "name": self.config.name, "best": self.state.best}
        distributed.on_main(lambda: evaluation.write(self.directory.path, **facts))
        print_result(self.console, self.config.name, evaluation.summary, str(self.directory.path))
        return metric(evaluation.summary, self.config)

    def _save(self) -> None:
        self._write(self.directory.last, self.state.pack())

    def _write(self, path: Path, state: dict[str, Any]) -> None:
        """A checkpoint: the state, and what a reader needs to know about its weights."""
        config = OmegaConf.to_container(self.config, resolve=True)
        classes, category_ids = self.parts.train_set.class_names, self.parts.train_set.category_ids
        facts = {"config": config, "classes": list(classes)}
        facts |= for_inference(self.config, classes, category_ids)
        distributed.on_main(lambda: checkpoint.save(path, facts | state))

    def _restore(self) -> None:
        path = self.directory.last
        with distributed.agreed():
            packed = checkpoint.load(path)
            if packed["classes"] != list(self.parts.train_set.class_names):
                raise UsageError(
                    f"{path} was trained on other classes than the data has: overwrite=true starts anew"
                )
            self.state.unpack(packed, path)
        if self.state.epoch == self.config.schedule.epochs:  # its result was not written any more
            self.state.evaluated = min(self.state.evaluated, self.state.epoch - 1)
        where = f"epoch {self.state.epoch}, batch {self.state.batch}"
        self.console.print(f"continuing {self.directory.path} at {where}", soft_wrap=True)
        before, now = len(packed["random"]), distributed.ranks()
        if before != now:
            self.console.print(
                f"{now} processes in place of {before}: the same batches, but not the same bits"
            )
