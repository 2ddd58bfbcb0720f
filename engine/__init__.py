"""The engine: training, checkpoints, evaluation and tracking. It does not depend on boxes."""
