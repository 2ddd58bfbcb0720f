"""Makes the checkpoint of a run that was cut after its first epoch.

python -m tests.engine.run.files.make_checkpoint FILE

test_earlier_version.py holds that last_v1.pt, which this wrote once, goes on loading. It is not made anew
when the format changes: a later format gets a file of its own beside it.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from pathlib import Path

from engine.config.compose import compose_config
from engine.trainer import Trainer, train

WORDS = (
    "name=older", "data.size=64", "data.images.train=4", "data.images.val=2", "data.workers=0",
    "model.backbone.name=test_byobnet", "model.backbone.levels=[3]", "model.neck.channels=8",
    "model.neck.extra_levels=0", "model.head.channels=8", "model.head.convs=1", "schedule.epochs=2",
    "schedule.batch_size=2", "schedule.warmup_steps=0", "schedule.optimizer=sgd", "schedule.lr=0.01",
    "schedule.momentum=0", "schedule.ema=null", "max_steps=1", "eval.every=1", "logger=none", "device=cpu",
)  # fmt: skip


class AfterOneEpoch(Trainer):
    """Is cut after its first evaluation."""

    def _save(self) -> None:
        super()._save()
        if self.state.evaluated:
            raise KeyboardInterrupt


def main() -> None:
    import engine.trainer

    engine.trainer.Trainer = AfterOneEpoch  # type: ignore[misc]
    target = Path(sys.argv[1]).absolute()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        try:
            train(compose_config(*WORDS))
        except KeyboardInterrupt:
            shutil.copy("runs/older/last.pt", target)


if __name__ == "__main__":
    main()
