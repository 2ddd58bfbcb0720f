"""Commands for people, run as `python -m tools.NAME`: they read what runs leave behind and change nothing."""
