"""Commands run as `python -m tools.NAME`: most read finished runs and leave them as they are."""
