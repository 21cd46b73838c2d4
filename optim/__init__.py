"""Optimizers as pure `init` and `update`, schedules as functions of the step, gradient clipping."""

from typing import Any

Params = dict[str, Any]
"""A nested dictionary of arrays; gradients and the optimizer's moments have the same tree."""
