"""The config of a run: its keys, their values and help, and how it is composed and checked."""
