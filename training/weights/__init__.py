"""Weights in and out: `python -m training.weights export RUN FILE` and `... import FILE --run DIR`; docs/weights.md."""
