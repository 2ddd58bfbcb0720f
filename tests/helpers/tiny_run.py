"""Where the repository stands, and the words of runs that take seconds."""

from pathlib import Path

ROOT = Path(__file__).parents[2]

# A detector and a schedule of seconds: 3 batches an epoch, 2 epochs.
TINY_MODEL = ("model.neck.channels=16", "model.head.channels=16", "model.head.convs=1")
TINY_RUN = (
    *TINY_MODEL, "data.size=64", "data.images.train=12", "data.images.val=4", "data.workers=0",
    "schedule.epochs=2", "schedule.batch_size=4", "schedule.warmup_steps=2", "eval.batch_size=4",
    "logger=none", "device=cpu",
)  # fmt: skip
# The same on `tiny_coco`: 4 batches of 2, with images of about 64 pixels.
TINY_COCO_RUN = (
    "data.short=64", "data.eval_short=64", "data.long=96", "data.eval_long=96", "data.workers=0",
    "model.backbone.weights=null", "schedule.batch_size=2", "schedule.epochs=1", "eval.batch_size=2",
    "logger=none", "device=cpu",
)  # fmt: skip
