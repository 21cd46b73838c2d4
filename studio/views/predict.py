"""The page on which one asks a model: what is in a picture, and what the model looked at."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from common.documents import read_json
from common.errors import DamagedError, UserError
from studio import commands, jobs, parts, pictures
from studio.guesses import read_listing
from studio.jobs import RESULTS, Job
from studio.runs import Seen, config_of
from studio.workspace import mended_name

DROP, CAMERA, VALIDATION = "My pictures", "Camera", "Validation images"
DRAWN = 12  # validation images to choose from
PREDICT = "predict"
SOME_BROKEN = 1  # exit code of predict.py where some pictures could not be read, and the others were predicted
KEYS = ("answer", "answer of the other")


def show() -> None:
    st.title("Predict")

    def wanted(run: Seen) -> bool:
        return run.can_be_asked and not run.without_labels

    run = parts.choose_run("Run to ask", wanted, key="asked run")
    if run is None:
        st.info("There is no model to ask yet. Train one: it can be asked from its first checkpoint on.")
        return
    other = parts.choose_run("and beside it", wanted, key="other run", without=[run.path], optional="no other")
    chosen = choose_pictures(run)
    if st.button("Ask", type="primary", disabled=not chosen, key="ask"):
        ask_all(chosen, [run] if other is None else [run, other])
    answers = [(key, job) for key in KEYS if (job := parts.job_of(key)) is not None]
    if answers:
        show_answers(answers)


def choose_pictures(run: Seen) -> list[pictures.Handed] | list[Path]:
    """What to ask about: files of the browser, or of validation images that were drawn."""
    kinds = [DROP, CAMERA, VALIDATION]
    kind = st.segmented_control("Pictures", kinds, default=DROP, key="kind of pictures", required=True)
    if kind == CAMERA:
        taken = st.camera_input("Take a picture", key="camera")
        return [taken] if taken is not None else []
    if kind == VALIDATION:
        return choose_validation(run)
    most = pictures.MOST_BYTES // 2**20
    handed = st.file_uploader(
        f"Pictures, at most {pictures.MOST_ASKED}, each of at most {most} MB",
        type=pictures.endings(),
        accept_multiple_files=True,
        max_upload_size=most,
        key="handed pictures",
    )
    return list(handed)


def choose_validation(run: Seen) -> list[Path]:
    """Some of the validation images that were drawn."""
    seed = st.session_state.setdefault("seed of the drawing", 0)
    key = f"drawn {run.path}"
    if st.button("Draw others" if parts.job_of(key) else "Draw some", key="draw"):
        st.session_state["seed of the drawing"] = seed + 1
        parts.begin(
            "images",
            lambda out: commands.validation_images(run.path, out / "images", count=DRAWN, seed=seed),
            key=key,
            run=run.path,
        )
    job = parts.job_of(key)
    if job is None:
        return []
    ended = parts.follow(job, "opening the images")
    if ended is None or not ended.well:
        return []
    chosen = []
    with st.container(horizontal=True):
        for path, name in read_listing(job.results / "images"):
            with st.container(width=140):
                parts.picture(path, name, width=128)
                parts.say(name, small=True)
                if st.checkbox("ask", key=f"chosen {path}"):
                    chosen.append(path)
    if len(chosen) > pictures.MOST_ASKED:
        st.error(f"{len(chosen)} pictures: at most {pictures.MOST_ASKED} at once")
        return []
    return chosen


def ask_all(chosen: Sequence[pictures.Handed] | Sequence[Path], runs: Sequence[Seen]) -> None:
    """Ask each run about the pictures, with a command for each."""
    for key in KEYS[len(runs) :]:
        st.session_state.pop(f"job {key}", None)
    for key, run in zip(KEYS, runs, strict=False):
        folder = None
        try:
            folder = jobs.new_folder(PREDICT)
            paths = keep(chosen, folder / "pictures")
        except (UserError, OSError) as error:
            st.error(parts.plain(str(error)))
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            return
        config = config_of(run)
        attends = config is not None and config.model.layers > 0
        command = commands.predict(paths, run.path, folder / RESULTS, with_attention=attends)
        job = parts.launch(PREDICT, command, run.path, folder)
        if job is not None:
            st.session_state[f"job {key}"] = job.folder.name


def keep(chosen: Sequence[pictures.Handed] | Sequence[Path], folder: Path) -> list[Path]:
    """The pictures as files of the question, so that its command can be given again later."""
    handed = [item for item in chosen if not isinstance(item, Path)]
    if handed:
        return pictures.keep_asked(handed, folder)
    folder.mkdir(parents=True, exist_ok=True)
    classes = {path: name for item in chosen if isinstance(item, Path) for path, name in read_listing(item.parent)}
    copies = [(path, mended_name(f"{path.stem} {classes.get(path, '')}.png")) for path in classes if path in chosen]
    return [Path(shutil.copy(path, folder / name)) for path, name in copies]


def show_answers(answers: Sequence[tuple[str, Job]]) -> None:
    """What the runs say, beside each other."""
    st.divider()
    columns = st.columns(len(answers))
    for column, (_, job) in zip(columns, answers, strict=True):
        with column:
            st.subheader(parts.plain(Path(job.about.run or "").name))
            ended = parts.follow(job, "asking the model", also_well=SOME_BROKEN)
            if ended is not None and ended.well:
                show_answer(job)


def show_answer(job: Job) -> None:
    try:
        found = read_json(job.results / "guesses.json", dict[str, Any])
        images, broken = found["images"], found["broken"]
    except (OSError, DamagedError, KeyError) as error:
        st.error(parts.plain(str(error)))
        return
    for image in images:
        left, right = st.columns([1, 2])
        with left:
            parts.picture(Path(image["path"]), Path(image["path"]).name, width="stretch")
            parts.say(Path(image["path"]).name, small=True)
        with right:
            for guess in image["guesses"]:
                st.progress(guess["probability"], f"{guess['probability']:.1%}  {parts.plain(guess['name'])}")
    for image in broken:
        st.error(parts.plain(f"{Path(image['path']).name}: {image['problem']}"))
    for kind, said in (
        ("attention", "What each head of the last block attends to, and attention rollout over all blocks."),
        ("saliency", "Which pixels the first guesses hang on: the gradient of the logit, by our own backward."),
    ):
        parts.drawing(job.results / f"{kind}.png", said)


if __name__ == "__main__":
    show()
