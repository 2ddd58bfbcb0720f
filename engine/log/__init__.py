"""What a run shows and keeps about itself: metrics, wandb, tables, pictures, progress."""
