"""What the pages share: a command to copy, a job to follow, text from elsewhere, a grid of pictures."""

import shlex
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import streamlit as st
from PIL import Image

from common.page import escape
from data.pictures import opened
from studio import jobs
from studio.commands import Command
from studio.jobs import RESULTS, Job
from studio.runs import Seen, all_runs

SHOWN_SIDE = 400  # pixels, at most, of a picture of the user
OUTPUT_HEIGHT = 220
MARKUP = frozenset("\\`*_{}[]()<>#+-.!|~$:&=")  # letters that may be markup in Markdown
STOPPED = (130, 143, -signal.SIGINT, -signal.SIGTERM)  # exit codes
RUN_IN_MIND = "run in mind"  # that the pages begin with: the one chosen last


class Ended(NamedTuple):
    """How a job ended."""

    well: bool
    code: int | None


def show_command(command: Command) -> None:
    st.caption("The command, to copy")
    st.code(shlex.join(command), language="bash", wrap_lines=True)


def say(text: str, *, small: bool = False) -> None:
    """Text from elsewhere, such as the name of a class, as it is: it is no markup."""
    tag = "small" if small else "span"
    st.html(f"<{tag}>{escape(text)}</{tag}>")


def ask(
    label: str,
    kind: str,
    make: Callable[[Path], Command],
    *,
    key: str,
    run: Path | None = None,
    main: bool = False,
    help: str | None = None,
) -> Job | None:
    """A button that begins the command `make(folder for results)`; the job that it began last, or None.

    A job that still runs is stopped, as its answer is not waited for any more.
    """
    if st.button(label, key=f"ask {key}", type="primary" if main else "secondary", help=help):
        begin(kind, make, key=key, run=run)
    return job_of(key)


def begin(kind: str, make: Callable[[Path], Command], *, key: str, run: Path | None = None) -> Job | None:
    """Begin a command, as `ask` does. None, with a message on the page, if it cannot be begun."""
    before = job_of(key)
    if before is not None:
        before.stop()
    try:
        folder = jobs.new_folder(kind)
    except OSError as error:
        st.error(plain(str(error)))
        return None
    job = launch(kind, make(folder / RESULTS), run, folder)
    if job is not None:
        st.session_state[f"job {key}"] = job.folder.name
    return job


def launch(kind: str, command: Command, run: Path | None, folder: Path | None = None) -> Job | None:
    """Begin a command. None, with a message on the page, if it cannot be begun, as where the disk is full."""
    try:
        return jobs.begin(kind, command, None if run is None else str(run), folder)
    except OSError as error:
        st.error(plain(str(error)))
        return None


def job_of(key: str) -> Job | None:
    name = st.session_state.get(f"job {key}")
    return jobs.find(name) if name else None


def follow(job: Job, doing: str, also_well: int = 0) -> Ended | None:
    """Show the command of a job, and what it prints while it runs. How it ended; None while it runs.

    `also_well` is an exit code with which it did what it should as well.
    """
    if job.is_running():
        _following(job.folder.name, doing)
        show_command(job.about.command)
        return None
    ended = how_it_ended(job)
    if ended.code == also_well:
        ended = Ended(True, ended.code)
    if not ended.well:
        show_command(job.about.command)
        st.error(plain(why(job, ended)))
    else:
        with st.expander("The command, and what it said"):
            show_command(job.about.command)
            st.code(job.output(), language=None, wrap_lines=True)
    return ended


@st.fragment(run_every=1.0)
def _following(folder: str, doing: str) -> None:
    job = jobs.find(folder)
    if job is None or not job.is_running():
        st.rerun()
        return
    seconds = int(time.time() - job.about.began)
    st.caption(f"{doing} … {seconds} s")
    output = job.output()
    if output:
        st.code(output, language=None, wrap_lines=True, height=OUTPUT_HEIGHT)
    if st.button("Stop", key=f"stop {folder}"):
        job.stop()


def how_it_ended(job: Job) -> Ended:
    """By its exit code, or by what it said where no studio was there to note that."""
    code = job.exit_code()
    return Ended("error:" not in job.output() if code is None else code == 0, code)


def why(job: Job, ended: Ended) -> str:
    """Why a job ended as it did, in a line: its error, or how the process ended."""
    lines = [line for line in job.output().splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    if errors:
        return errors[-1].removeprefix("error: ")
    if ended.code in STOPPED:
        return "stopped"
    if ended.code is not None and ended.code < 0:
        return f"the process was ended by signal {-ended.code}; perhaps memory ran out"
    return lines[-1] if lines else "it ended without a word"


def plain(text: str) -> str:
    """Text as Markdown that shows it as it is."""
    return "".join(f"\\{letter}" if letter in MARKUP else letter for letter in " ".join(text.split()))


def picture(path: Path, alt: str, width: int | str = "content") -> None:
    """A picture of the user, small enough to be sent; a word where it cannot be opened."""
    try:
        with opened(path.read_bytes()) as image:
            image.draft("RGB", (SHOWN_SIDE, SHOWN_SIDE))
            shown = image.convert("RGB")
        shown.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    except Exception:  # what Pillow raises is of many types; the command says what is wrong with the file
        st.caption("no picture")
        return
    if max(shown.size) < 128:  # of a data set: whole pixels, enlarged
        factor = 128 // max(shown.size) + 1
        shown = shown.resize((shown.width * factor, shown.height * factor), Image.Resampling.NEAREST)
    st.image(shown, width=width, alt=alt)


def drawing(path: Path, said: str) -> None:
    """A picture that a command has drawn, and what it shows. Nothing if it is not there."""
    if path.is_file():
        st.caption(said)
        st.image(str(path), alt=said)


def choose_run(
    label: str, wanted: Callable[[Seen], bool], *, key: str, without: Iterable[Path] = (), optional: str = ""
) -> Seen | None:
    """A choice among the runs that are `wanted`; None if there is none, or where `optional` is chosen."""
    hidden = set(without)
    found = {str(run.path): run for run in all_runs() if wanted(run) and run.path not in hidden}
    if not found:
        return None
    names = [optional, *found] if optional else list(found)
    in_mind = st.session_state.get(RUN_IN_MIND)
    start = names.index(in_mind) if in_mind in names and not optional else 0
    number = st.session_state.get(f"number of {key}", 0)
    before = st.session_state.get(f"{key} {number}" if number else key)
    if before is not None and before not in names:  # a new field, as the browser keeps what the old one showed
        number += 1
        st.session_state[f"number of {key}"] = number
        if not optional:
            st.info(f"{plain(before)} is not there any more.")
    chosen = st.selectbox(
        label, names, start, key=f"{key} {number}" if number else key,
        format_func=lambda name: found[name].name if name in found else name,
    )  # fmt: skip
    if not optional and chosen:
        st.session_state[RUN_IN_MIND] = chosen
    return found.get(chosen or "")
