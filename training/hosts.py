"""Several processes that train one run together, each with devices of its own: on one machine, or on many hosts.

All run the same program on the same data and take the same decisions. Process 0 leads: it writes the folder of the run
and says what happens. The others write to a scratch folder that is removed when they end, and say nothing. A run that
is resumed is sent to them by process 0, so they need not see its folder. What must be common to all is agreed on:
whether anyone was asked to stop, and that all were given the same options and data.

JAX connects the processes (`jax.distributed`). It knows Slurm, Kubernetes, Open MPI and Cloud TPU by itself. Where one
of them ends, the others end too, within LOST seconds.
"""

import contextlib
import json
import os
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO, cast

import jax
import numpy as np
from jax.experimental import multihost_utils

from common.command import BAD_INPUT, INTERRUPTED, one_line
from common.documents import parse_json
from common.errors import ConfigError, UserError
from common.streams import OUTPUT, SafeStream
from common.text import counted

AUTO = "auto"
WAIT = 120  # seconds for all processes to start
STDOUT = 1
PIECE = 1 << 26  # bytes that are sent at once
LOST = 60  # seconds until a process that no longer answers is given up


@dataclass(frozen=True)
class Hosts:
    """This process among those that train together."""

    number: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the folder of the run."""
        return self.number == 0

    def wait(self, what: str) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            multihost_utils.sync_global_devices(what)

    def any(self, here: bool) -> bool:
        """Whether this is so in any process; all ask at the same moment."""
        return bool(self.gather(np.array(here)).any())

    def gather(self, array: np.ndarray) -> np.ndarray:
        """The arrays of all processes, which have one shape, in the order of their numbers: (count, ...)."""
        return np.asarray(multihost_utils.process_allgather(array)) if self.count > 1 else array[None]

    def from_first(self, content: bytes) -> bytes:
        """What process 0 has; the others may give anything."""
        if self.count == 1:
            return content
        count, last = map(int, multihost_utils.broadcast_one_to_all(np.array(divmod(len(content), PIECE), np.int32)))
        pieces = []
        for number, size in enumerate([PIECE] * count + [last] * (last > 0)):
            begin = number * PIECE
            mine = content[begin : begin + size] if self.leads else bytes(size)
            sent = multihost_utils.broadcast_one_to_all(np.frombuffer(mine, np.uint8))
            pieces.append(np.asarray(sent, np.uint8).tobytes())
        return b"".join(pieces)

    def require_same(self, values: Mapping[str, object]) -> None:
        """Raises UserError in every process if one of them has other values than process 0."""
        if self.count == 1:
            return
        mine = [f"{name}={value}" for name, value in values.items()]
        first = self.from_first("\0".join(mine).encode()).decode().split("\0")
        pairs = zip(mine, first, strict=False)  # another version of the program may have more
        other = next((f"{here}, where process 0 has {there}" for here, there in pairs if here != there), "")
        if self.any(bool(other)):
            raise UserError(
                f"{other}: all processes need the same options and data"
                if other
                else "another process has other options or data; it says which"
            )


ALONE = Hosts()


@contextlib.contextmanager
def together(
    where: str | None,
    device: str,
    debug: bool = False,
    option: str = "train.distributed=",
    again: str = "start all of them again with --resume",
) -> Iterator[Hosts]:
    """Join the processes that `where` names, and work with them in the block; None: this process alone.

    `where` is "auto", where JAX finds them by itself, or HOST:PORT,ID,COUNT: the address of process 0, the number of
    this process, and how many there are. `device` is what `choose_device` will be given, after this. With `debug` an
    error is shown with its traceback. `option` and `again`, how to go on after a failure, are for messages.

    If the block raises, this process ends at once, so that the others, which may wait for it, notice that.

    Raises:
        ConfigError: `where` is neither.
        UserError: the processes do not find each other within WAIT seconds.
    """
    if where is None:
        yield ALONE
        return
    hosts = _connect(where, device, option + where)
    try:
        with _own_words(), contextlib.nullcontext() if hosts.leads else _in_silence():
            yield hosts
    except (UserError, OSError) as error:
        if debug:
            traceback.print_exc()
        _end(hosts, one_line(error))
    except KeyboardInterrupt:
        _end(hosts, "interrupted", INTERRUPTED)
    except Exception as error:  # JAX has no class of its own for a lost connection
        text = str(error)
        if any(word in text for word in ("Gloo", "NCCL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "coordination")):
            says = f"What was saved is kept: {again}. JAX says: {text.partition(chr(10))[0]}"
            _end(hosts, f"another process has ended, or cannot be reached. {says}")
        traceback.print_exc()  # a bug
        _end(hosts, one_line(error), 1)


def scratch_folder() -> Path:
    """A folder for a process that does not lead, removed when it ends."""
    folder = tempfile.TemporaryDirectory(prefix="vit-process-")
    _SCRATCH.append(folder)  # kept alive until then
    return Path(folder.name) / "run"


_SCRATCH: list[tempfile.TemporaryDirectory[str]] = []


def copy_of_run(hosts: Hosts, folder: Path) -> Path:
    """The run in `folder` of process 0: `folder` itself there, and a scratch copy of its files in the others."""
    if hosts.count == 1:
        return folder
    mine = [file.name for file in folder.iterdir() if file.is_file() and file.name[0] != "."] if hosts.leads else []
    names: list[str] = parse_json(hosts.from_first(json.dumps(mine).encode()), list[str], "process 0")
    copy = folder if hosts.leads else scratch_folder()
    copy.mkdir(exist_ok=True)
    for name in names:
        content = hosts.from_first((folder / name).read_bytes() if hosts.leads else b"")
        if not hosts.leads:
            (copy / name).write_bytes(content)
    return copy


def _connect(where: str, device: str, given: str) -> Hosts:
    address, number, count = (None, None, None) if where == AUTO else _parse(where, given)
    if address is not None and number is not None:
        _require_reachable(given, address, number)
    # JAX would take SIGTERM for itself, to tell the others by a way of its own.
    jax.config.update("jax_enable_preemption_service", False)
    if device == "cpu":  # else the first exchange would already use another device
        jax.config.update("jax_platforms", "cpu")
    missing = threading.Timer(WAIT, _end, (Hosts(count=0), f"{given}: {_NOT_ALL}"))
    missing.daemon = True
    missing.start()
    try:
        # JAX would end the process by itself, with a trace of its own; the timer comes before it.
        jax.distributed.initialize(
            address, count, number, initialization_timeout=10 * WAIT, heartbeat_timeout_seconds=LOST,
            shutdown_timeout_seconds=LOST,
        )  # fmt: skip
    except (RuntimeError, ValueError) as error:
        text = str(error).partition("\n")[0]
        raise UserError(f"{given}: the processes cannot be connected. JAX says: {text}") from error
    finally:
        missing.cancel()
    counts = [len(jax.local_devices(process_index=process)) for process in range(jax.process_count())]
    if len(set(counts)) > 1:
        raise UserError(
            f"{given}: the processes have {', '.join(map(str, counts))} devices, in their order; all need equally many"
        )
    return Hosts(jax.process_index(), jax.process_count())


_NOT_ALL = f"not all processes started within {WAIT} s; start all of them, each with its own number"


def _parse(where: str, given: str) -> tuple[str, int, int]:
    try:
        address, number, count = where.split(",")
        host, _, port = address.rpartition(":")
        if host and 0 < int(port) < 65536 and 0 <= int(number) < int(count):
            return address, int(number), int(count)
    except ValueError:
        pass
    raise ConfigError(
        f"{given}: expected auto, or HOST:PORT,ID,COUNT: the address of process 0, the number of "
        "this process, from 0 to COUNT - 1, and how many there are"
    )


def _require_reachable(given: str, address: str, number: int) -> None:
    """Raises UserError if process 0 cannot listen at its address, or another one cannot reach it within WAIT seconds.

    JAX ends the process where that fails, without a word that helps.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if number == 0:
        try:
            with socket.create_server(("", int(port))):
                return
        except OSError as error:
            raise UserError(
                f"{given}: cannot listen at port {port} ({error.strerror}): choose another port, the "
                "same for all processes"
            ) from None
    until = time.monotonic() + WAIT
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > until:  # where processes are containers, even the name may appear later
                raise UserError(
                    f"{given}: process 0 does not answer at {address} ({error.strerror or error}): "
                    "is it running, and may others connect to it there?"
                ) from None
            time.sleep(0.2)


def _end(hosts: Hosts, message: str, code: int = BAD_INPUT) -> None:
    """Say one line and end at once. Python's usual end would wait for the other processes."""
    among = f"process {hosts.number} of {counted(hosts.count, 'process', 'processes')}: " if hosts.count > 1 else ""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    with contextlib.suppress(OSError):
        os.write(2, f"error: {among}{message}\n".encode(errors="backslashreplace"))
    for folder in _SCRATCH:
        folder.cleanup()
    os._exit(code)


@contextlib.contextmanager
def _own_words() -> Iterator[None]:
    """In the block, what Python prints is seen as usual, and what gloo prints when it connects is not."""
    sys.stdout.flush()
    kept, nowhere = os.dup(STDOUT), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, STDOUT)
    os.close(nowhere)
    usual = sys.stdout
    try:
        with os.fdopen(os.dup(kept), "w", encoding=usual.encoding, errors="backslashreplace") as stream:
            sys.stdout = cast(TextIO, SafeStream(stream, OUTPUT))
            yield
    finally:
        sys.stdout = usual
        os.dup2(kept, STDOUT)
        os.close(kept)


@contextlib.contextmanager
def _in_silence() -> Iterator[None]:
    """Nothing is printed in the block, on either stream."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        yield
