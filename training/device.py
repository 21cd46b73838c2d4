"""The device that computes: choosing it, caching compiled programs, and explaining that its memory is full.

The device is chosen once, before anything is computed. There is no silent fallback to another one.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import jax

from common.cores import available_cores
from common.errors import UserError
from common.text import counted

CHOICES = ("auto", "cpu", "gpu")
MIN_COMPILE_SECONDS = 0.2  # programs that compile faster are not cached


def choose_device(name: str) -> jax.Device:
    """Make `name` ("auto", "cpu" or "gpu") the default device and return it. "auto" is JAX's own choice.

    Raises:
        UserError: "gpu", but JAX finds none; or JAX_PLATFORMS names devices that are not here.
    """
    if name == "cpu":
        jax.config.update("jax_platforms", "cpu")
    try:
        device = jax.local_devices(backend=None if name == "auto" else name)[0]
    except (RuntimeError, AssertionError) as error:  # the latter, if JAX_PLATFORMS names what is not installed
        raise UserError(_no_device(name, error)) from error
    jax.config.update("jax_default_device", device)
    return device


def _no_device(name: str, error: Exception) -> str:
    """Why JAX finds no device of this name, and what to do."""
    install = "On Linux with an NVIDIA card install its CUDA build with `pip install -r requirements-gpu.txt`"
    platforms = os.environ.get("JAX_PLATFORMS")
    if name == "gpu":
        chosen = f", where JAX_PLATFORMS={platforms} is set: unset it" if platforms else ""
        return f"--device gpu: JAX finds no GPU here{chosen}. {install}, or train on the CPU with --device cpu"
    if platforms:
        advice = "Unset it, or set JAX_PLATFORMS=cpu"
        return f"JAX_PLATFORMS={platforms}: JAX finds no such device here. {advice}. {install}"
    says = str(error).partition("\n")[0]
    return f"JAX cannot use any device here. For the CPU set JAX_PLATFORMS=cpu. JAX says: {says}"


def keep_compiled_programs() -> None:
    """Cache compiled programs in `~/.cache/vit-by-hand/compiled`, so that the next start need not compile them.

    `XDG_CACHE_HOME` replaces `~/.cache` if it is set. JAX's own variables take precedence: `JAX_COMPILATION_CACHE_DIR`
    names another folder, `JAX_ENABLE_COMPILATION_CACHE=false` turns the cache off.
    """
    if jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]  # JAX defines its options dynamically
        return
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    jax.config.update("jax_compilation_cache_dir", str(caches / "vit-by-hand" / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_COMPILE_SECONDS)


@contextlib.contextmanager
def explained_out_of_memory(options: str) -> Iterator[None]:
    """Turn "out of memory" on the device, raised in the block, into a UserError that says to lower `options`."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        # JAX has one class for all errors of a device, and the message of a CPU differs from that of a GPU.
        if "RESOURCE_EXHAUSTED" not in str(error) and "out of memory" not in str(error).lower():
            raise
        message = str(error).partition("\n")[0]
        raise UserError(f"the memory of the device does not suffice: lower {options}. JAX says: {message}") from error


def describe_device(device: jax.Device) -> str:
    """`cpu, 8 cores` or the name of the accelerator."""
    if device.platform == "cpu":
        return f"cpu, {counted(available_cores(), 'core')}"
    return f"{device.platform}, {device.device_kind}"
