"""Trains a detector: `python train.py assigner=o2f`, with atss, simota or tal in place of o2f.

Sweeps: `python train.py -m +sweep=assigners`, or any lists of values, `-m assigner=atss,o2f seed=0,1`. The
same command again continues what was interrupted and skips what is finished. See docs/sweeps.md.
"""

import logging
import traceback

import hydra
from omegaconf import DictConfig

import engine.host  # noqa: F401  # before torch is imported
from engine.config import command
from engine.config.compose import check  # makes the keys of configs/train.yaml known to Hydra, too
from engine.sweep import in_sweep, is_rank_0, record_failure, record_result
from errors import UsageError

logging.captureWarnings(True)


@hydra.main(version_base="1.3", config_path="configs", config_name="train")
def main(config: DictConfig) -> float:
    """Returns the AP that eval.metric names, for sweepers."""
    try:
        if is_rank_0():
            check(config)  # a wrong value is reported before torch is imported, which takes seconds
        from engine.trainer import train

        value = train(config)
        record_result(config)
        return value
    except KeyboardInterrupt:
        # The run has said so and saved. A sweep ends here too.
        raise SystemExit(130) from None
    except UsageError as error:
        reason, trace = str(error), ""
    except Exception as error:
        if not in_sweep():
            raise
        reason = "".join(traceback.format_exception_only(error)).strip()
        trace = traceback.format_exc()
    record_failure(reason, trace)
    if command.launched():  # the other processes have ended, and a sweep ends with them
        raise SystemExit(trace or reason)
    # Out here no error is chained to it: that would keep the tensors of a failed job until the sweep ends.
    command.end(trace or reason)


if __name__ == "__main__":
    command.run(main, "train")
