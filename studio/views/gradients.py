"""The page on which gradients are checked: of a part, of everything, of a trained model, or with a planted mistake."""

import time
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from common.documents import read_json
from common.errors import DamagedError
from studio import commands, jobs, lessons, parts
from studio.jobs import ROOT, Job
from studio.lines import read_lines
from studio.runs import Seen

PART, ALL, TRAINED, MISTAKE = "One part", "Everything", "A trained model", "Plant a mistake"
CHECK = "check"
ROW_HEIGHT, MOST_ROWS = 35, 20
COLUMNS = ["case", "tensor", "shape", "complex step", "differences", "Taylor", "verdict"]


def show() -> None:
    st.title("Gradients")
    st.caption(
        "Every backward is derived by hand. The check measures each derivative by itself, with the complex step and "
        "with differences, and compares. It takes from seconds to a few minutes."
    )
    kinds = [PART, ALL, TRAINED, MISTAKE]
    kind = st.segmented_control("Check", kinds, default=PART, key="kind of check", required=True)
    if kind == MISTAKE:
        plant()
    elif kind == TRAINED:
        check_trained()
    elif kind == ALL:
        st.caption("Every layer with every option, the losses, the models and the optimizers, at small shapes.")
        job = parts.ask("Check", CHECK, lambda out: commands.check_layers("", report(out)), key="check all", main=True)
        show_check(job)
    else:
        check_part()


def check_part() -> None:
    chosen = st.selectbox("Part", lessons.checks(), format_func=lambda check: check.name, key="checked part")
    only = chosen.only
    job = parts.ask(
        "Check", CHECK, lambda out: commands.check_layers(only, report(out)), key=f"check {only}", main=True
    )
    show_check(job)
    show_lesson(chosen.file)


def check_trained() -> None:
    run = parts.choose_run("Run", lambda run: run.can_be_asked, key="checked run")
    if run is None:
        st.info("There is no trained model yet.")
        return
    st.caption("At its weights and on images of its data: coordinates of every tensor, drawn at random.")
    checked: Seen = run
    job = parts.ask(
        "Check", CHECK, lambda out: commands.check_run(checked.path, report(out)), key=f"check {run.path}",
        run=run.path, main=True,
    )  # fmt: skip
    show_check(job)


def plant() -> None:
    """Plant a mistake in a copy of a file in memory, and see the check find it."""
    part = st.selectbox("Part", lessons.parts(), format_func=lambda part: part.name, key="part of the mistake")
    mistakes = lessons.mistakes_in(part.file)
    mistake = st.selectbox("Mistake", mistakes, format_func=lambda m: m.mistake, key=f"mistake in {part.file}")
    st.code(lessons.patch_of(mistake), language="diff", wrap_lines=True)
    st.caption("No file is changed: the mistake is planted in the memory of the process that checks.")
    job = parts.ask(
        "Plant it and check", CHECK, lambda out: commands.plant(part.file, mistake.mistake, report(out)),
        key=f"plant {part.file} {mistake.mistake}", main=True,
    )  # fmt: skip
    if job is not None:
        ended = parts.follow(job, "planting it and checking every part")
        if ended is not None:
            show_caught(job)
    show_lesson(part.file)


def show_caught(job: Job) -> None:
    found = read_report(job)
    for mutant in found.get("mutants", []) if found else []:
        if not mutant["caught"]:
            st.error("It survived: no check noticed.")
            continue
        st.success(f"Caught, by {parts.plain(', '.join(mutant['methods']))}.")
        with st.container():
            for line in mutant["tensors"][:8]:
                parts.say(line)
            rest = len(mutant["tensors"]) - 8
            if rest > 0:
                st.caption(f"and in {rest} more tensors")


def show_check(job: Job | None) -> None:
    """The table, which fills while the check runs."""
    if job is None:
        return
    if job.is_running():
        _filling(job.folder.name)
        parts.show_command(job.about.command)
        return
    found = read_report(job)
    ended = parts.how_it_ended(job)
    if found is None:
        parts.follow(job, "checking")
        return
    parts.show_command(job.about.command)
    said = parts.plain(found["summary"])
    (st.success if ended.well else st.error)(said)
    show_table(table(job.output()))
    with st.expander("What it said"):
        st.code(job.output(), language=None, wrap_lines=True)


@st.fragment(run_every=1.0)
def _filling(folder: str) -> None:
    job = jobs.find(folder)
    if job is None or not job.is_running():
        st.rerun()
        return
    rows = table(job.output())
    st.caption(f"checking … {int(time.time() - job.about.began)} s, {len(rows):,} tensors so far")
    show_table(rows)
    if st.button("Stop", key=f"stop {folder}"):
        job.stop()


def table(output: str) -> pd.DataFrame:
    """The tensors that were checked so far."""
    return pd.DataFrame(read_lines(output), columns=COLUMNS)


def show_table(rows: pd.DataFrame) -> None:
    """As high as its rows, up to a limit; then it is scrolled."""
    if len(rows):
        st.dataframe(rows, width="stretch", height=ROW_HEIGHT * (min(len(rows), MOST_ROWS) + 1) + 3, hide_index=True)


def report(folder: Path) -> Path:
    return folder / "report.json"


def read_report(job: Job) -> dict[str, Any] | None:
    try:
        return read_json(report(job.results), dict[str, Any])
    except (OSError, DamagedError):
        return None


def show_lesson(file: str) -> None:
    """The source of a part, and the chapter that derives it."""
    with st.expander(f"Source: {file}"):
        st.code((ROOT / file).read_text(encoding="utf-8"), language="python", line_numbers=True)
    chapter = lessons.chapter_of(file)
    if chapter is not None:
        with st.expander(f"Chapter: {lessons.title_of(chapter)} (docs/book/{chapter.name})"):
            st.markdown(lessons.readable(chapter))


if __name__ == "__main__":
    show()
