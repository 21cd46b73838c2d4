"""Why a check cannot be made at all. A gradient that is wrong is no error here: it is a result."""


class CheckError(Exception):
    """The check cannot be made as asked; the message says what to change."""


class PrecisionError(CheckError):
    """The function does not compute in float64, so differences of it would show rounding, not mistakes."""
