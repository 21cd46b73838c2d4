"""Why a check cannot be made at all. A wrong gradient is not an error but a result."""


class CheckError(Exception):
    """The check cannot be made; the message says what to change."""


class PrecisionError(CheckError):
    """The function does not compute in float64, so differences of it would show rounding, not mistakes."""
