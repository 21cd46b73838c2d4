"""Why a check cannot be made at all. A wrong gradient is not an error but a result."""


class CheckError(Exception):
    """The check cannot be made; the message says what to change."""


class PrecisionError(CheckError):
    """The function does not compute in float64, so differences of it would show rounding, not mistakes."""


WAY_OUT = (
    'use float64 (with JAX: jax.config.update("jax_enable_x64", True) before any array is made), or pass '
    "plan=Plan(any_float=True)"
)
LEAVE_OUT = "leave the conversion out, or pass plan=Plan(any_float=True)"
"""What to do where the arrays are not float64, and where the function itself converts them."""
