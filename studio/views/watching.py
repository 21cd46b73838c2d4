"""The runs: what each is doing, its curves beside those of others, its log; stop it, go on, train longer."""

import shutil
import time
from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd
import streamlit as st

from common.progress import format_seconds
from studio import commands, curves, parts
from studio.runs import (
    DIVERGED,
    FAILED,
    FINISHED,
    PREPARING,
    RUNNING,
    STOPPED,
    TRAIN,
    Seen,
    all_runs,
    best_of,
    config_of,
    length_of,
    log_of,
    rows_of,
    stop,
)
from training.run_folder import RunFolder

SECONDS = 2.0  # between looks at a run that is running
WORDS = {
    RUNNING: "Training", FINISHED: "Finished", STOPPED: "Stopped; it can go on", DIVERGED: "Diverged",
    PREPARING: "Beginning", FAILED: "It could not begin, or is damaged",
}  # fmt: skip
CHART_HEIGHT, LEGEND_LINE = 260, 20
EACH_STEP = "training, each step"


def show(runs: Sequence[Seen]) -> None:
    if not runs:
        st.info("There is no run yet. Begin a training; it appears here, and so do those that are begun in a terminal.")
        return
    chosen = parts.choose_run("Run", lambda run: True, key="watched run")
    if chosen is None:  # the last one was just removed
        return
    others = [run for run in runs if run.path != chosen.path and run.entry is not None]
    names = {str(run.path): run.name for run in others}
    beside: list[str] = []
    if names:
        beside = st.multiselect("beside it", list(names), key="runs beside it", format_func=lambda p: names.get(p, p))
    states = {str(run.path): run.state for run in runs if run.path == chosen.path or str(run.path) in beside}
    live = any(state in (RUNNING, PREPARING) for state in states.values())
    st.fragment(run_every=SECONDS if live else None)(_watch)(str(chosen.path), tuple(beside), states)


def _watch(path: str, beside: tuple[str, ...], states: dict[str, str]) -> None:
    """What changes while a run goes on. The whole page is drawn again when a run begins or ends."""
    runs = {str(run.path): run for run in all_runs()}
    shown = [runs[name] for name in (path, *beside) if name in runs]
    if path not in runs or any(run.state != states.get(str(run.path)) for run in shown):
        st.rerun()
        return
    run = runs[path]
    st.markdown(f"**{WORDS[run.state]}**")
    progress(run)
    buttons(run)
    if run.problem:
        st.error(parts.plain(run.problem))
    elif run.entry is None and run.state == FAILED and run.job is not None:
        st.error(parts.plain(parts.why(run.job, parts.how_it_ended(run.job))))
    charts([r for r in shown if r.entry is not None])
    if run.job is not None:
        parts.show_command(run.job.about.command)
    with st.expander("What it said"):
        st.code(log_of(run) or "nothing yet", language=None, wrap_lines=True, height=320)


def progress(run: Seen) -> None:
    """How far the run is, and its figures."""
    if run.entry is None:
        if run.state == PREPARING and run.job is not None:
            lines = run.job.output().strip().splitlines()
            st.caption(f"{int(time.time() - run.job.about.began)} s")
            parts.say(lines[-1] if lines else "starting", small=True)
        return
    course, length = curves.course_of(run.path), length_of(RunFolder(run.path))
    rows = rows_of(run)
    step = max(course.last_step, rows[-1].step if rows else 0)
    speed = course.steps_per_second() if run.state == RUNNING else None
    best = best_of(rows)
    measured = "best accuracy of a probe" if run.without_labels else "best accuracy"
    figures = [(measured, "–" if best is None else f"{best:.2%}")]
    loss = course.thinned().loss
    figures.append(("loss", f"{loss[-1]:.3f}" if len(loss) else "–"))
    if length is not None:
        done = min(1.0, step / length.steps)
        st.progress(done, f"step {step:,} of {length.steps:,}, epoch {-(-step // length.an_epoch):,}")
        images = speed * length.batch if speed else (rows[-1].images_per_second if rows else None)
        figures.append(("images/s", f"{images:,.0f}" if images else "–"))
        if run.state == RUNNING:
            left = (length.steps - step) / speed if speed else None
            figures.append(("time left", format_seconds(left) if left is not None else "–"))
    if run.entry.parameters:
        figures.append(("parameters", f"{run.entry.parameters:,}"))
    if run.state == RUNNING and speed is None and run.job is not None:
        parts.say((run.job.output().strip().splitlines() or ["starting"])[-1], small=True)
    with st.container(horizontal=True):
        for title, value in figures:
            st.metric(title, value, width="content")
    if course.problem:
        st.warning(parts.plain(course.problem))
    if len(loss) and not np.isfinite(loss[-1]):
        st.error("The loss is no number any more: the training has diverged.")


def buttons(run: Seen) -> None:
    """Stop, go on, train longer: what fits the state."""
    if run.state in (RUNNING, PREPARING):
        if st.button("Stop", key=f"stop {run.path}", help="saves, and ends; it can go on later"):
            st.toast("Asked to stop: it finishes a step and saves." if stop(run) else "It has just ended.")
        return
    if run.entry is None and run.job is not None:
        if st.button("Take it off this list", key=f"forget {run.path}"):
            shutil.rmtree(run.job.folder, ignore_errors=True)
            st.rerun()
        return
    if run.entry is None or run.state == DIVERGED:
        return
    if run.state == FINISHED:
        st.caption("Ask it about pictures under Predict; see what it mistakes under Look inside.")
    if run.state == STOPPED and st.button("Go on", type="primary", key=f"resume {run.path}"):
        resume(run, [])
    config = config_of(run)
    if config is None or config.train.epochs is None:
        return
    with st.expander("Train longer"):
        more = st.number_input(
            "Epochs in all", min_value=config.train.epochs + 1, value=2 * config.train.epochs, key=f"epochs {run.path}"
        )
        overrides = [f"train.epochs={int(more)}"]
        parts.show_command(commands.resume(run.path, overrides))
        if st.button("Train longer", key=f"longer {run.path}"):
            resume(run, overrides)


def resume(run: Seen, overrides: list[str]) -> None:
    if parts.launch(TRAIN, commands.resume(run.path, overrides), run.path) is not None:
        st.rerun()


def charts(runs: Sequence[Seen]) -> None:
    """Loss, accuracy, learning rate and gradient of all runs over the passes through the training images."""
    losses, accuracies, rates, norms = [], [], [], []
    for run in runs:
        course, length, rows = curves.course_of(run.path), length_of(RunFolder(run.path)), rows_of(run)
        steps, found = course.thinned(), curves.evaluations(rows, length.an_epoch if length else None)
        if length is not None:
            epochs = (steps.step / length.an_epoch).tolist()
            losses.append(_frame(run, EACH_STEP, epochs, steps.loss.tolist()))
            rates.append(_frame(run, "learning rate", epochs, steps.learning_rate.tolist()))
            norms.append(_frame(run, "norm of the gradient", epochs, steps.gradient_norm.tolist()))
        for title, values in (("validation", found.val_loss), ("moving average", found.ema_loss)):
            losses.append(_frame(run, title, found.epoch, values))
        for title, values in (("validation", found.val_top1), ("moving average", found.ema_top1)):
            accuracies.append(_frame(run, title, found.epoch, values))
    if not any(len(frame) for frame in losses):
        return
    left, right = st.columns(2)
    with left:
        _draw("Loss (nats)", losses)
        _draw("Learning rate", rates)
    with right:
        probe = " of a linear probe" if all(run.without_labels for run in runs) else ""
        _draw(f"Accuracy{probe} on validation images", accuracies, percent=True)
        _draw("Norm of the gradient, before clipping", norms, log=True)


def _frame(run: Seen, series: str, x: Sequence[float], y: Sequence[float]) -> pd.DataFrame:
    frame = pd.DataFrame({"epoch": x, "value": y})
    frame["run"], frame["of"] = run.name, series
    return frame[np.isfinite(frame["value"])]


def _draw(title: str, frames: Sequence[pd.DataFrame], percent: bool = False, log: bool = False) -> None:
    kept = [frame for frame in frames if len(frame)]
    if not kept:
        return
    table = pd.concat(kept)
    scale = alt.Scale(type="log") if log and (table["value"] > 0).all() else alt.Scale(zero=False)
    axis = alt.Axis(format=".0%", tickMinStep=0.01) if percent else alt.Axis()
    lines = sum(table[name].nunique() for name in ("run", "of") if table[name].nunique() > 1)
    chart = (
        alt.Chart(table, height=CHART_HEIGHT + LEGEND_LINE * lines)
        .mark_line(point=len(table) < 60)
        .encode(
            x=alt.X("epoch:Q", title="passes over the training images", axis=alt.Axis(format="~g")),
            y=alt.Y("value:Q", title=None, scale=scale, axis=axis),
            color=alt.Color("run:N", title=None, legend=_legend(table["run"])),
            strokeDash=alt.StrokeDash("of:N", title=None, legend=_legend(table["of"]), sort=[EACH_STEP]),
            opacity=alt.condition(alt.datum.of == EACH_STEP, alt.value(0.45), alt.value(1.0)),
            tooltip=["run:N", "of:N", alt.Tooltip("epoch:Q", format=".2f"), alt.Tooltip("value:Q", format=".4g")],
        )
    )
    st.caption(title)
    st.altair_chart(chart, width="stretch", alt=f"{title}, over the passes through the training images")


def _legend(values: "pd.Series[str]") -> alt.Legend | None:
    """None where there is one of a kind."""
    return alt.Legend(orient="bottom", columns=1, labelLimit=320) if values.nunique() > 1 else None
