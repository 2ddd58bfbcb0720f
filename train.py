"""Trains a detector: `python train.py assigner=o2f`, with atss, simota or tal in place of o2f.

Sweeps: `python train.py -m assigner=atss,simota,tal,o2f seed=0,1`. The same command again continues what was
interrupted and skips what is finished.
"""

import logging
import os

# Before torch is imported: by default OpenMP's threads spin while they wait for each other, which starves the
# data workers on the same cores several times over. A short spin loses nothing on idle cores.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

import hydra
from hydra.errors import CompactHydraException
from omegaconf import DictConfig

from engine import distributed
from engine.trainer import train
from errors import UsageError

logging.captureWarnings(True)


@hydra.main(version_base="1.3", config_path="configs", config_name="train")
def main(config: DictConfig) -> float:
    """Returns the AP that eval.metric names, for sweepers."""
    try:
        return train(config)
    except UsageError as error:
        if distributed.launched():  # the other processes have ended, and a sweep ends with them
            raise SystemExit(str(error)) from None
        # Hydra prints this kind without a stack trace, and the other jobs of a sweep still run.
        raise CompactHydraException(str(error)) from None
    except KeyboardInterrupt:
        # The run has said so and saved. A sweep ends here too.
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
    distributed.leave()
