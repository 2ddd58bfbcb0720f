"""Evaluates a checkpoint as COCO mAP, with NMS and without, from one forward pass.

`python eval.py run=runs/NAME` uses the run's own data; any other of the same classes goes by
`python eval.py checkpoint=FILE data=coco data.root=DIR`.
"""

import logging

import hydra
from omegaconf import DictConfig

import engine.config.compose  # makes the keys of configs/eval.yaml known to Hydra
import engine.host  # noqa: F401  # before torch is imported
from engine.config import command
from engine.run.directory import checkpoint_file
from engine.sweep import is_rank_0
from errors import UsageError

logging.captureWarnings(True)


@hydra.main(version_base="1.3", config_path="configs", config_name="eval")
def main(config: DictConfig) -> float:
    """Returns the AP that eval.metric names."""
    try:
        if is_rank_0():
            checkpoint_file(config)  # a wrong name is reported before torch is imported, which takes seconds
        from engine.evaluate import evaluate_checkpoint

        return evaluate_checkpoint(config)
    except UsageError as error:
        if command.launched():  # the other processes have ended, too
            raise SystemExit(str(error)) from None
        command.end(str(error))


if __name__ == "__main__":
    command.run(main, "eval")
