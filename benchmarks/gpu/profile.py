"""One training step by kernel: which of them take the time, from the trace of JAX's own profiler.

    python -m benchmarks.gpu.profile [PRESET] [section.key=value ...] --trace DIR [--device cpu|gpu] [--dtype ...]

The step is that of `python -m benchmarks.step`. The trace stays in DIR, for Perfetto or TensorBoard. Prints one line of
JSON: milliseconds, share and number of each kernel, the largest first, the kinds that they add up to, and how long the
device waited between them.
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
    "products": ("gemm", "nvjet", "cublas", "cutlass", "dot", "matmul", "xmma", "wgmma"),
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
    contestant.wait()
    with jax.profiler.trace(str(args.trace)):
        for _ in range(STEPS):
            contestant.step()
        contestant.wait()
    print(json.dumps(summary(kernels(newest_events(args.trace), args.device), STEPS)))


def newest_events(folder: Path) -> list[dict[str, Any]]:
    """The events of the newest trace below `folder`, in the format of Chrome's tracing."""
    files = sorted(folder.rglob("*.trace.json.gz"), key=lambda path: path.stat().st_mtime)
    if not files:
        raise UserError(f"{folder}: the profiler of this version of JAX wrote no *.trace.json.gz")
    with gzip.open(files[-1], "rt", encoding="utf-8") as file:
        return json.load(file)["traceEvents"]


def kernels(events: Sequence[dict[str, Any]], platform: str) -> list[dict[str, Any]]:
    """The events of kernels. On a GPU these are the events on its streams; on a CPU those of XLA's own threads."""
    names = {
        (event["pid"], event.get("tid") if event["name"] == "thread_name" else None): event["args"]["name"]
        for event in events
        if event.get("ph") == "M" and event.get("name") in ("process_name", "thread_name")
    }

    def counts(event: dict[str, Any]) -> bool:
        if event.get("ph") != "X":
            return False
        process, thread = names.get((event["pid"], None), ""), names.get((event["pid"], event.get("tid")), "")
        if platform == "gpu":
            return "/device:GPU" in process and "Stream" in thread
        return "hlo_op" in event.get("args", {})

    return [event for event in events if counts(event)]


def summary(events: Sequence[dict[str, Any]], steps: int) -> dict[str, Any]:
    """What is printed, in milliseconds a step."""
    times: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for event in events:
        for name in (event["name"], f"{kind_of(event['name'])}, all", "all"):
            times[name] += event["dur"]
            calls[name] += 1
    if not times["all"]:
        raise UserError("the trace has no kernel in it: open it in Perfetto to see what it has")

    def line(name: str) -> dict[str, Any]:
        share = times[name] / times["all"]
        return {"ms a step": times[name] / 1e3 / steps, "share": share, "calls a step": calls[name] / steps}

    groups = [name for name, _ in times.most_common() if name == "all" or name.endswith(", all")]
    single = [name for name, _ in times.most_common() if name not in groups][:LONGEST]
    idle = {"the device waits": {"ms a step": waiting(events) / 1e3 / steps}}
    return idle | {name[:80]: line(name) for name in (*groups, *single)}


def waiting(events: Sequence[dict[str, Any]]) -> float:
    """Microseconds between the first start and the last end during which nothing runs."""
    total, busy_until = 0.0, min(event["ts"] for event in events)
    for event in sorted(events, key=lambda event: event["ts"]):
        total += max(0.0, event["ts"] - busy_until)
        busy_until = max(busy_until, event["ts"] + event["dur"])
    return total


def kind_of(name: str) -> str:
    words = name.lower()
    return next((kind for kind, parts in KINDS.items() if any(part in words for part in parts)), "all else")


if __name__ == "__main__":
    sys.exit(run_command(main))
