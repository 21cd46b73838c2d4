"""The gradient checks of this project: its layers, losses, models and optimizers, put before `verify`."""

import vit_environment

vit_environment.require_own("checks", "common", "data", "model", "optim", "training", "verify")

from checks.check import check_layer  # noqa: E402  # which imports them

__all__ = ["check_layer"]
