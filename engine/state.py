"""Everything that training changes, and how it is put into a checkpoint and taken out of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from detector.detector import Detector
from engine import distributed
from engine.average import MovingAverage
from engine.run import checkpoint
from engine.schedule import build_optimizer, learning_rate_factor
from errors import UsageError

TO_CONTINUE = ("batch", "step", "best", "model", "ema_updates", "optimizer", "schedule", "random")
ANEW = "overwrite=true starts anew, init=FILE starts from its weights"


class State:
    """Weights, their average, optimizer, learning rate, and how far training has come.

    Args:
        model: the detector, on its device.
        schedule: the `schedule` group.
        steps_per_epoch: optimizer steps.
        fused: the optimizer takes its step in one kernel on a GPU, too.

    Attributes:
        epoch, batch: the epoch that runs and the batches of it that are done.
        step: optimizer steps since the start.
        evaluated: the epoch after which the last evaluation was made.
        best: the highest AP of an evaluation so far.
    """

    def __init__(
        self, model: Detector, schedule: Mapping[str, Any], steps_per_epoch: int, fused: bool = False
    ) -> None:
        self.model = model
        self.average = MovingAverage(model, schedule["ema"]) if schedule["ema"] else None
        self.optimizer = build_optimizer(model, schedule, fused)
        self.learning_rate = LambdaLR(self.optimizer, learning_rate_factor(schedule, steps_per_epoch))
        self.clip_norm = schedule["clip_norm"]
        self.epoch, self.batch, self.step = 0, 0, 0
        self.evaluated, self.best = 0, -1.0

    @property
    def result_model(self) -> Detector:
        """The weights that are evaluated: the moving average where there is one."""
        return cast(Detector, self.average.module) if self.average is not None else self.model

    def update(self) -> None:
        """One optimizer step with the gradients that are there."""
        if self.clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.learning_rate.step()
        self.step += 1
        if self.average is not None:
            self.average.update(self.model)

    def result(self) -> dict[str, Any]:
        """What inference reads."""
        return {"epoch": self.epoch, "weights": self.result_model.state_dict()}

    def pack(self) -> dict[str, Any]:
        """What a continued run needs (collective), and what inference reads."""
        return self.result() | {
            "batch": self.batch,
            "step": self.step,
            "evaluated": self.evaluated,
            "best": self.best,
            "model": self.model.state_dict(),
            "ema_updates": self.average.updates if self.average is not None else 0,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.learning_rate.state_dict(),
            "random": distributed.gather(checkpoint.random_state()),
        }

    def unpack(self, packed: dict[str, Any], path: Path) -> None:
        """Puts everything back, as of the checkpoint at `path`.

        The number of processes may be another one: the batches stay the same, and a process that had no
        counterpart keeps the random numbers it began with.

        Raises:
            UsageError: if something is missing, or does not fit the model and its optimizer.
        """
        checkpoint.require(packed, TO_CONTINUE, path, ANEW)
        checkpoint.load_weights(self.model, packed["model"], path)
        if self.average is not None:
            checkpoint.load_weights(self.average.module, packed["weights"], path)
            self.average.updates = packed["ema_updates"]
        try:
            self.optimizer.load_state_dict(packed["optimizer"])
        except ValueError as error:
            raise UsageError(
                f"{path}: the optimizer does not fit, an earlier version trained other parameters: {ANEW}"
            ) from error
        self.learning_rate.load_state_dict(packed["schedule"])
        for state in packed["random"][distributed.rank() :][:1]:
            checkpoint.restore_random_state(state)
        self.epoch, self.batch = packed["epoch"], packed["batch"]
        self.step, self.best = packed["step"], packed["best"]
        # Earlier versions did not repeat an evaluation that was cut.
        self.evaluated = packed.get("evaluated", self.epoch)
