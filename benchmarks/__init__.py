"""Measurements, each a module to run: `python -m benchmarks.eager`. What others are compared with is optional here."""

import vit_environment

vit_environment.require_own("benchmarks", "checks", "common", "data", "model", "optim", "training", "verify")
