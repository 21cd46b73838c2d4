"""Writing checkpoints: by the process that leads, while the others wait."""

import shlex
from pathlib import Path
from typing import Any

from common.errors import UserError
from training import checkpoint
from training.hosts import Hosts
from training.run_folder import RunFolder
from training.step import TrainState


def weights_of(state: TrainState) -> dict[str, Any]:
    """What best.npz has of a state."""
    return {"params": state.params, **({} if state.average is None else {"average": state.average})}


def save(run: RunFolder, path: Path, tree: Any, meta: dict[str, Any], hosts: Hosts) -> None:
    """Write a checkpoint of a run. All processes call this at the same moment; when it returns, the file is there.

    Raises:
        UserError: it cannot be written; the one before it is kept.
    """
    if hosts.leads:
        try:
            checkpoint.save(path, tree, meta)
        except OSError as error:
            raise UserError(
                f"{path}: cannot be written: {error.strerror}. The checkpoints before it are kept: make room, then go "
                f"on with `python train.py --resume {shlex.quote(str(run.path))}`"
            ) from error
    hosts.wait(path.name)
