"""How a training ends before its last step: it was asked to stop, or it has diverged."""

from common.errors import UserError
from common.interrupt import StopRequest


class Stopped(Exception):  # noqa: N818  # not an error
    """The run was asked to stop, and has saved a checkpoint of `step`, if a step was made at all."""

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step


class DivergedError(UserError):
    """A loss or a gradient is not finite; `what` says which, as in `the loss of step 20 is nan`."""

    def __init__(self, what: str, message: str) -> None:
        super().__init__(message)
        self.what = what


def stop_if_asked(stop: StopRequest, step: int) -> None:
    """Raises Stopped if `stop` is set."""
    if stop.signal is not None:
        raise Stopped(step)
