"""The head of the results: the machine, its driver, the versions, the date."""

import datetime
import importlib.metadata
import shutil
import subprocess

from benchmarks.contestants.report import machine

PACKAGES = ("jax", "jaxlib", "jax-cuda13-plugin", "jax-cuda12-plugin", "numpy", "flax", "optax", "torch", "pillow")
QUERY = "name,driver_version,memory.total,power.limit,clocks.max.sm"


def head(rehearse: bool) -> dict[str, str]:
    """Without JAX, which would reserve the GPU for this process."""
    versions = []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "kind": "rehearsal at tiny sizes on the CPU: no figure below means anything" if rehearse else "measurement",
        "GPU": "not used" if rehearse else _gpu(),
        "machine": machine(),
        "versions": ", ".join(versions),
        "began": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
    }


def _gpu() -> str:
    """What nvidia-smi says: name, driver, memory, power limit and highest clock."""
    if shutil.which("nvidia-smi") is None:
        return "nvidia-smi is not installed"
    command = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader"]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"nvidia-smi does not answer ({type(error).__name__})"
    return "; ".join(ended.stdout.split("\n")).strip("; ") or f"nvidia-smi: {ended.stderr.strip()[:200]}"
