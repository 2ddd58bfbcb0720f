"""Makes a finished run a folder that others can load."""
