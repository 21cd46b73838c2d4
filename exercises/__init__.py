"""Backward passes to write oneself, each in a file of its own: `python -m exercises list`."""
