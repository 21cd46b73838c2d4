"""Exercises: write backward passes yourself, one per file. `python -m exercises list` shows them."""
