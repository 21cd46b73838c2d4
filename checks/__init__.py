"""The gradient checks of this project: its layers, losses, models and optimizers, put before `verify`."""

from checks.check import check_layer

__all__ = ["check_layer"]
