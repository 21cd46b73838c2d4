"""The sections on where the figures come from: the options of the run, the machines and the times."""

import platform
import re
import sys
import time
from importlib import metadata

from common.documents import read_text
from common.errors import DamagedError, UserError
from common.page import escape
from common.text import counted
from training.config import default_values
from training.fields import as_written
from training.report.material import Material, details, note, section, table
from training.run_folder import RunFolder
from training.trained import WEIGHTS

PACKAGES = ("jax", "jaxlib", "numpy", "pillow")


def options(material: Material) -> str:
    """The options that differ from the defaults, and all of them."""
    config, defaults = material.trained.run.read_config(), default_values()
    changed, everything = [], []
    for name, own in config.values().items():
        for key, value in own.items():
            default = defaults[name][key]
            cells = [f"<code>{name}.{key}</code>", escape(as_written(value)), escape(as_written(default))]
            everything.append(cells)
            if as_written(value) != as_written(default):
                changed.append(cells)
    said = (
        f"The run began with the preset <code>{escape(config.preset)}</code>. These options differ from the defaults "
        "of configs.yml, by the preset, by hand, or because they were taken from the data."
    )
    titles = ("option", "value", "default")
    return section(
        "options", "Options", note(said), table(titles, changed), details("All options", table(titles, everything))
    )


def origin(material: Material) -> str:
    """Run, machine and time, of the evaluation and of the training."""
    trained, seconds = material.trained, material.seconds
    speed = f", {len(material.result.labels) / seconds:,.0f} images/s" if seconds else ""
    evaluated = [
        ("run", f"<code>{escape(str(trained.run.path))}</code>"),
        ("checkpoint", f"{escape(trained.checkpoint.name)}, step {trained.step:,}, {WEIGHTS[trained.weights]}"),
        ("images", escape(material.described)),
        ("device", escape(material.device)),
        ("time", f"{duration(seconds)}{speed}"),
        ("date", time.strftime("%Y-%m-%d %H:%M")),
        ("versions", escape(", ".join(versions()))),
        ("system", escape(f"{platform.system()} {platform.machine()}")),
    ]
    parts = ["<h3>This evaluation</h3>", _facts(evaluated), "<h3>The training</h3>", _facts(training(material))]
    return section("origin", "Machine and time", *parts)


def _facts(facts: list[tuple[str, str]]) -> str:
    rows = "".join(f'<tr><th scope="row">{name}</th><td>{value}</td></tr>' for name, value in facts)
    return f'<table class="facts">{rows}</table>'


def versions() -> list[str]:
    return [f"Python {sys.version.split()[0]}", *(f"{name} {metadata.version(name)}" for name in PACKAGES)]


def training(material: Material) -> list[tuple[str, str]]:
    """What the log, the metrics and the checkpoint know of the training, in HTML."""
    run = material.trained.run
    facts: list[tuple[str, str]] = []
    said = logged(run)
    facts += [(name, escape(said[name])) for name in ("device", "data", "model") if name in said]
    try:
        rows = run.read_metrics()
    except (UserError, OSError):
        rows = []
    if rows:
        last = rows[-1]
        facts += [
            ("length", f"{counted(last.epoch, 'pass', 'passes')} over the images, {counted(last.step, 'step')}"),
            ("time", f"{duration(last.seconds)}, evaluations included"),
            ("speed", f"{last.images_per_second:,.0f} images/s, {last.data_wait:.1%} of the time waiting for data"),
        ]  # fmt: skip
    written = time.localtime(material.trained.checkpoint.stat().st_mtime)
    facts.append(("checkpoint", f"written {time.strftime('%Y-%m-%d %H:%M', written)}"))
    return facts


def logged(run: RunFolder) -> dict[str, str]:
    """What train.py printed last about device, data and model; nothing where there is no log."""
    try:
        text = read_text(run.log_file, errors="replace")
    except (OSError, DamagedError):
        return {}
    return {name: said.strip() for name, said in re.findall(r"^(device|data|model)  (.+)$", text, re.MULTILINE)}


def duration(seconds: float) -> str:
    """`12.3 s`, `4 min 13 s` or `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
