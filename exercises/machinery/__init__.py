"""The implementation of `python -m exercises`. You need not read it to do the exercises."""
