"""The page on which one looks inside a trained model: its report, what it confuses, its most confident mistakes."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from common.documents import read_json
from common.errors import DamagedError
from studio import commands, jobs, parts
from studio.guesses import Guess, Guesses, read_guesses, read_listing
from studio.jobs import Job
from studio.runs import Seen
from training.run_folder import RunFolder

EVALUATE, MISTAKES, CONFUSIONS, REPORT = "evaluate", "Mistakes", "Confusions", "Report"
SHOWN = 24  # images of a cell, or mistakes
NAMED = 60  # classes, at most, whose names stand beside the matrix
CELL = "cell of the matrix"
REPORT_HEIGHT = 900


def show() -> None:
    st.title("Look inside")
    run = parts.choose_run("Run", lambda run: run.can_be_asked, key="looked-at run")
    if run is None:
        st.info("There is no trained model yet. Train one: it can be looked at from its first checkpoint on.")
        return
    if run.without_labels:
        show_reconstructions(run)
        return
    job = jobs.newest(EVALUATE, str(run.path))
    label = "Evaluate it on all validation images" if job is None else "Evaluate again"
    begun = parts.ask(
        label, EVALUATE, lambda out: commands.evaluate(run.path, out), key=f"evaluate {run.path}", run=run.path,
        main=job is None,
    )  # fmt: skip
    job = jobs.newest(EVALUATE, str(run.path)) if begun else job
    if job is None:
        return
    if is_outdated(job, run):
        st.warning("The run has a newer checkpoint since: evaluate again.")
    ended = parts.follow(job, "evaluating")
    if ended is None or not ended.well:
        return
    try:
        figures = read_json(job.results / "evaluation.json", dict[str, Any])
        guesses = read_guesses(job.results / "evaluation.csv")
    except (OSError, DamagedError, ValueError, KeyError) as error:
        st.error(parts.plain(f"{error}; evaluate again"))
        return
    with st.container(horizontal=True):
        for title, name, form in (("top-1", "top1", ".2%"), ("top-5", "top5", ".2%"), ("loss", "loss", ".4f")):
            st.metric(title, format(figures[name], form), width="content")
        st.metric("images", f"{figures['images']:,}", width="content")
    kinds = [CONFUSIONS, MISTAKES, REPORT]
    part = st.segmented_control("Part", kinds, default=CONFUSIONS, key="part of inside", required=True)
    if part == MISTAKES:
        show_mistakes(run, guesses)
    elif part == REPORT:
        show_report(job)
    else:
        show_confusions(run, guesses)


def is_outdated(job: Job, run: Seen) -> bool:
    """Whether the checkpoint that is evaluated was written after the evaluation had begun."""
    folder = RunFolder(run.path)
    try:
        file = folder.best if folder.best.exists() else folder.last
        return file.stat().st_mtime > job.about.began
    except OSError:
        return False


def show_confusions(run: Seen, guesses: Guesses) -> None:
    """The matrix, and the images of one of its cells."""
    counts, names = guesses.counts(), guesses.names
    images = Counter(guess.label for guess in guesses.images)
    table = pd.DataFrame(
        [(a, b, names[a], names[b], n, n / images[a]) for (a, b), n in counts.items()],
        columns=["label_id", "predicted_id", "label", "predicted", "images", "share"],
    )
    few = len(names) <= NAMED
    order = list(names.values())
    axis = alt.Axis(labels=few, ticks=few, labelLimit=120, labelOverlap=False)
    side = max(360, min(720, 30 * len(names)))
    pick = alt.selection_point(name=CELL.replace(" ", "_"), fields=["label_id", "predicted_id"])
    chart = (
        alt.Chart(table, height=side)
        .mark_rect()
        .encode(
            x=alt.X("predicted:N", scale=alt.Scale(domain=order), title="taken for", axis=axis),
            y=alt.Y("label:N", scale=alt.Scale(domain=order), title="label", axis=axis),
            color=alt.Color("share:Q", title="share", scale=alt.Scale(scheme="viridis")),
            tooltip=["label", "predicted", "images"],
        )
        .add_params(pick)
    )
    st.caption("Each row is a class, and shows what its images were taken for. Choose a cell to see its images.")
    said = "Matrix of what is taken for what"
    st.altair_chart(chart, width="stretch", key="matrix", on_select=lambda: cell_chosen(names), alt=said)
    label = st.selectbox("Images of", list(names), format_func=lambda c: names[c], key="label of the cell")
    found = dict(guesses.taken_for(label))
    if st.session_state.get("guess of the cell") not in found:
        st.session_state.pop("guess of the cell", None)
    guess = st.selectbox(
        "taken for", list(found), format_func=lambda c: f"{names[c]} ({found[c]:,})", key="guess of the cell"
    )
    if guess is not None:
        at_once = st.session_state.pop("cell chosen", False)
        open_images(run, guesses, guesses.cell(label, guess), "the cell", at_once)


def cell_chosen(names: dict[str, str]) -> None:
    """A cell of the matrix was chosen: show it below."""
    chosen = st.session_state["matrix"].selection.get(CELL.replace(" ", "_")) or []
    if chosen and chosen[0].get("label_id") in names:
        st.session_state["label of the cell"] = chosen[0]["label_id"]
        st.session_state["guess of the cell"] = chosen[0]["predicted_id"]
        st.session_state["cell chosen"] = True


def show_mistakes(run: Seen, guesses: Guesses) -> None:
    found = guesses.mistakes()
    if not found:
        st.success("Every image was guessed right.")
        return
    st.caption(f"The most confident of {len(found):,} mistakes: the model was sure, and wrong.")
    open_images(run, guesses, found, "mistakes")


def open_images(run: Seen, guesses: Guesses, found: Sequence[Guess], what: str, at_once: bool = False) -> None:
    """The first images of a list, by a command that writes them as files."""
    numbers = [guess.number for guess in found[:SHOWN]]
    key = f"images {run.path} {numbers}"
    label = f"Show {len(numbers)} of {len(found):,} images" if len(found) > len(numbers) else "Show the images"
    if st.button(label, key=f"open {what}") or (at_once and parts.job_of(key) is None):
        parts.begin(
            "images", lambda out: commands.validation_images(run.path, out / "images", numbers), key=key, run=run.path
        )
    job = parts.job_of(key)
    if job is None:
        return
    ended = parts.follow(job, "opening the images")
    if ended is None or not ended.well:
        return
    paths = dict(zip(sorted(numbers), (path for path, _ in read_listing(job.results / "images")), strict=False))
    with st.container(horizontal=True):
        for guess in found[:SHOWN]:
            path = paths.get(guess.number, Path())
            label, predicted = guesses.names[guess.label], guesses.names[guess.predicted]
            with st.container(width=150):
                parts.picture(path, label, width=128)
                verdict = label if guess.label == guess.predicted else f"{label}, taken for {predicted}"
                parts.say(f"{verdict}, {guess.probability:.0%}", small=True)


def show_report(job: Job) -> None:
    page = job.results / "evaluation.html"
    if not page.is_file():
        st.info("The evaluation was ended before its report was written: evaluate again.")
        return
    st.caption("Curves, classes, mistakes, attention, filters of the patches, similarity of the positions, and more.")
    text = page.read_text(encoding="utf-8")
    st.download_button("Keep this page", text, "report.html", "text/html", key="keep the report")
    # Without a base of its own, a link within the page would open the studio in the frame.
    framed = text.replace("<head>", '<head><base href="about:srcdoc">', 1)
    st.iframe(framed, height=REPORT_HEIGHT, alt="Report of the run")


def show_reconstructions(run: Seen) -> None:
    """What a masked autoencoder predicts, as it has no guesses."""
    st.caption("This run learned without labels: it predicts the patches that are hidden from it.")
    job = parts.ask(
        "Show what it predicts", "reconstructions", lambda out: commands.reconstructions(run.path, out / "seen.png"),
        key=f"reconstructions {run.path}", run=run.path, main=True,
    )  # fmt: skip
    if job is not None and (ended := parts.follow(job, "predicting hidden patches")) is not None and ended.well:
        parts.drawing(job.results / "seen.png", "Images, what is seen of them, and what is predicted.")


if __name__ == "__main__":
    show()
