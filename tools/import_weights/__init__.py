"""Checkpoints of other libraries, written as Matchpoint's own."""
