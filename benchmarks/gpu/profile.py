"""One training step by kernel: which of them take the time, from the trace of JAX's own profiler.

    python -m benchmarks.gpu.profile [PRESET] [section.key=value ...] --trace DIR [--device cpu|gpu] [--dtype ...]

The step is that of `python -m benchmarks.step`. The trace stays in DIR, for Perfetto or TensorBoard. Prints one line of
JSON: milliseconds and share of each kernel, the largest first, and the kinds that they add up to.
"""

import gzip
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from benchmarks.contestants.from_config import draw_params, problem_from_config
from benchmarks.contestants.own import build
from common.command import run_command
from common.errors import UserError
from common.paths import named_path
from training.arguments import CommandParser, add_config_option
from training.config import load_config
from training.device import choose_device

STEPS = 5
LONGEST = 25  # kernels that are shown
KINDS = {  # by what a name contains, the first that fits
    "products": ("gemm", "cublas", "cutlass", "dot", "matmul", "xmma", "wgmma"),
    "copies": ("copy", "memcpy", "memset", "transpose"),
    "reductions and what is fused with them": ("reduce",),
    "other fusions": ("fusion",),
}


def main(argv: Sequence[str]) -> None:
    parser = CommandParser(prog="python -m benchmarks.gpu.profile", description=__doc__.splitlines()[0])
    parser.add_argument("preset", nargs="?", default="baseline")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    add_config_option(parser)
    parser.add_argument("--trace", metavar="DIR", type=named_path, required=True)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="gpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--debug", action="store_true")
    args = parser.parse_args(argv)
    choose_device(args.device)
    problem = problem_from_config(load_config(args.preset, args.overrides, args.config), args.device, args.dtype)
    contestant = build("engine", problem, draw_params(problem))
    for _ in range(3):
        contestant.step()
    with jax.profiler.trace(str(args.trace)):
        for _ in range(STEPS):
            contestant.step()
    print(json.dumps(summary(kernels(newest_events(args.trace), args.device), STEPS)))


def newest_events(folder: Path) -> list[dict[str, Any]]:
    """The events of the newest trace below `folder`, in the format of Chrome's tracing."""
    files = sorted(folder.rglob("*.trace.json.gz"), key=lambda path: path.stat().st_mtime)
    if not files:
        raise UserError(f"{folder}: the profiler of this version of JAX wrote no *.trace.json.gz")
    with gzip.open(files[-1], "rt", encoding="utf-8") as file:
        return json.load(file)["traceEvents"]


def kernels(events: Sequence[dict[str, Any]], platform: str) -> Counter[str]:
    """Microseconds by kernel. On a GPU these are the events on its streams; on a CPU those of XLA's own threads."""
    names = {
        (event["pid"], event.get("tid") if event["name"] == "thread_name" else None): event["args"]["name"]
        for event in events
        if event.get("ph") == "M" and event.get("name") in ("process_name", "thread_name")
    }
    times: Counter[str] = Counter()
    for event in events:
        if event.get("ph") != "X":
            continue
        process, thread = names.get((event["pid"], None), ""), names.get((event["pid"], event.get("tid")), "")
        if platform == "gpu":
            counted = "/device:GPU" in process and "Stream" in thread
        else:
            counted = "hlo_op" in event.get("args", {})
        if counted:
            times[event["name"]] += event["dur"]
    return times


def summary(times: Counter[str], steps: int) -> dict[str, Any]:
    """What is printed, in milliseconds a step."""
    total = sum(times.values())
    if not total:
        raise UserError("the trace has no kernel in it: open it in Perfetto to see what it has")
    kinds: Counter[str] = Counter()
    for name, time in times.items():
        kinds[kind_of(name)] += time
    lines = [*(("all", total),), *((f"{kind}, all", time) for kind, time in kinds.most_common())]
    lines += [(name[:80], time) for name, time in times.most_common(LONGEST)]
    return {name: {"ms a step": time / 1e3 / steps, "share": time / total} for name, time in lines}


def kind_of(name: str) -> str:
    words = name.lower()
    return next((kind for kind, parts in KINDS.items() if any(part in words for part in parts)), "all else")


if __name__ == "__main__":
    sys.exit(run_command(main))
