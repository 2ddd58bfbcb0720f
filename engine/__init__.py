"""The engine: training, checkpoints, evaluation and tracking. It knows nothing about boxes."""
