"""Measurements, each a module to run: `python -m benchmarks.eager`. What others are compared with is optional here."""
