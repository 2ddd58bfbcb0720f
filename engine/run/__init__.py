"""The run directory: where a run lives, who may write it, its checkpoints, and how it is interrupted."""
