"""A training from the choice of its images to its start. What is chosen becomes a command, which is shown."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import streamlit as st

from common.errors import DataError, UserError
from data.folder_scan import scan_folder
from data.registry import FOLDERS, SOURCES
from studio import commands, options, parts, pictures, workspace
from studio.runs import TRAIN
from training.run_folder import RUNS, RunFolder

SHAPES, OWN, KNOWN = "Shapes, drawn by the program", "My own pictures", "A known data set"
STARTED = "a training was started"
BESIDE = 3  # fields in a row
SHOWN = 18  # training images before the start
SECTIONS = {
    "model": "Model", "loss": "Loss", "mae": "Masked autoencoder", "optim": "Optimizer", "data": "Data",
    "augment": "Augmentation", "train": "Training",
}  # fmt: skip


class Data(NamedTuple):
    """What was chosen to train on."""

    name: str  # of the registry
    root: Path | None  # None: the default folder
    classes: int | None = None  # of an image folder
    images: int | None = None  # for training, of an image folder


def show() -> None:
    st.subheader("1. Pictures")
    data = choose_data()
    if data is None:
        return
    st.subheader("2. Setting")
    preset = st.selectbox(
        "Preset", options.presets_for(data.name), key=f"preset {data.name}", help="a section of configs.yml"
    )
    with st.expander("What this preset is for"):
        st.code(options.about(preset), language=None, wrap_lines=True)
    overrides = choose_options(preset)
    if data.root is not None:
        overrides.append(f"data.root={workspace.as_argument(data.root)}")
    wrong = options.problem(preset, overrides) or outside(overrides, data)
    if wrong:
        st.error(parts.plain(wrong))
        return
    look(preset, overrides, data)
    st.subheader("3. Start")
    start(preset, overrides, data)


def outside(overrides: Sequence[str], data: Data) -> str | None:
    """What is wrong with a path among the options, if one leads out of the folders of the studio."""
    given = dict(override.partition("=")[::2] for override in overrides)
    named = [Path(text) for name in options.PATHS if (text := given.get(name, "null")) != "null"]
    if data.root is not None and "data.val_folder" in given:
        named.append(data.root / given["data.val_folder"])
    try:
        for path in named:
            workspace.inside(path)
    except UserError as error:
        return str(error)
    return None


def choose_data() -> Data | None:
    kind = st.radio("Train on", [SHAPES, OWN, KNOWN], key="kind of data", horizontal=True, persist_state="session")
    if kind == SHAPES:
        st.caption("Twelve classes of small coloured shapes, made in seconds. Nothing has to be downloaded.")
        return Data("shapes", None)
    return choose_folder() if kind == OWN else choose_known()


def choose_folder() -> Data | None:
    """An image folder: one that is there, one whose path is given, or one that is handed over."""
    hand_over()
    found = [str(folder) for folder in workspace.image_folders()]
    listed = st.selectbox("Folder", found, key="folder") if found else None
    text = st.text_input("or the path of a folder", key="path of a folder", placeholder="/home/me/photos").strip()
    if not (text or listed):
        st.info("Hand over a folder, or copy one into datasets/: it has a folder for each class, with its pictures.")
        return None
    try:
        root = workspace.inside(text or listed or "")
        classes, images = contents(str(root))
        if classes < 2:
            raise UserError(f"{root}: it has no two folders with pictures in them, one for each class")
    except (DataError, UserError, OSError) as error:
        st.error(parts.plain(str(error)))
        return None
    job = parts.ask(
        "What is in it?", "inspect", lambda _: commands.inspect(root), key=f"inspect {root}",
        help="opens every picture once: classes, sizes, copies, broken files",
    )  # fmt: skip
    if job is not None and parts.follow(job, "reading every picture") is not None:
        st.code(job.output(), language=None, wrap_lines=True)
    return Data("image_folder", root, classes, images)


@st.cache_data(ttl=10, show_spinner=False)
def contents(root: str) -> tuple[int, int]:
    """Classes and training images of an image folder; looked at again after some seconds. Raises DataError, OSError."""
    out = workspace.link_out(Path(root))
    if out is not None:
        raise DataError(f"{out}: a link that leads out of the folders of the studio")
    train = scan_folder(Path(root)).train
    return len(train), sum(map(len, train.values()))


def hand_over() -> None:
    """A folder of pictures from the browser, kept in datasets/."""
    kept = st.session_state.pop("folder that was kept", None)
    if kept:
        st.session_state["folder"] = kept
        st.success(f"Kept in {parts.plain(kept)}")
    with st.expander("Hand over a folder of pictures"):
        st.caption(
            "A folder that has a folder for each class, such as cats/ and dogs/, with pictures in each. "
            f"At most {pictures.MOST_BYTES // 2**20} MB a picture and {pictures.MOST_OF_FOLDER // 2**30} GB in all. "
            "They stay on this machine: they are copied into datasets/."
        )
        files = st.file_uploader(
            "Folder", accept_multiple_files="directory", type=pictures.endings(), key="handed folder",
            max_upload_size=pictures.MOST_BYTES // 2**20,
        )  # fmt: skip
        name = st.text_input("Its name", key="name of the folder", placeholder="that of the folder")
        if st.button("Keep it", disabled=not files, key="keep the folder"):
            try:
                handed = pictures.sort_folder(files)
                folder = pictures.keep_folder(name.strip() or pictures.outermost(files), handed)
            except (UserError, OSError) as error:
                st.error(parts.plain(str(error)))
                return
            if handed.left_out:
                st.toast(parts.plain(pictures.left_out_note(handed.left_out)))
            st.session_state["folder that was kept"] = str(folder)
            st.rerun()


def choose_known() -> Data | None:
    """A data set of the registry; where it is not there, how to fetch it."""
    name = st.selectbox("Data set", known_names(), key="known data set")
    folder = workspace.DATASETS / FOLDERS[name].folder if name in FOLDERS else Path(SOURCES[name].folder)
    text = st.text_input("Its folder, if it is elsewhere", key=f"root of {name}", placeholder=str(folder)).strip()
    try:
        root = workspace.inside(text) if text else None
    except UserError as error:
        st.error(parts.plain(str(error)))
        return None
    if not (root or folder).is_dir():
        st.info(f"{parts.plain(str(root or folder))} is not there. It can be fetched, which needs a network.")
        job = parts.ask("Download", "download", lambda _: commands.download(name), key=f"download {name}")
        if job is None:
            parts.show_command(commands.download(name))
        elif (ended := parts.follow(job, "downloading")) is not None and ended.well:
            st.rerun()
        return None
    if name not in FOLDERS:
        return Data(name, root)
    try:
        return Data("image_folder", root or folder, *contents(str(root or folder)))
    except (DataError, OSError) as error:
        st.error(parts.plain(str(error)))
        return None


def known_names() -> list[str]:
    """The data sets that can be fetched and that a preset trains on."""
    own = ("shapes", "image_folder")
    return [name for name in SOURCES if name not in own and options.presets_for(name)] + list(FOLDERS)


def choose_options(preset: str) -> list[str]:
    """The options that matter, and all others folded; those that differ from the preset."""
    fields = {field.name: field for field in options.fields_of(preset)}
    given = show_fields(preset, [fields[name] for name in options.MATTER])
    others = [f for f in fields.values() if f.name not in (*options.MATTER, *options.LEFT_OUT)]
    with st.expander(f"All other options ({len(others)})"):
        for section, title in SECTIONS.items():
            st.markdown(f"**{title}**")
            given |= show_fields(preset, [f for f in others if f.name.startswith(f"{section}.")])
    return options.overrides_of(preset, given)


def show_fields(preset: str, fields: Sequence[options.Field]) -> dict[str, str]:
    """Fields in rows, so that a narrow page, which has a single column, keeps their order; their values by name."""
    given = {}
    for first in range(0, len(fields), BESIDE):
        for column, field in zip(st.columns(BESIDE), fields[first : first + BESIDE], strict=False):
            with column:
                given[field.name] = show_field(preset, field)
    return given


def show_field(preset: str, field: options.Field) -> str:
    """A field of the form; its value as text."""
    key, help = f"{preset} {field.name}", f"`{field.name}`: {parts.plain(field.help)}"
    if field.choices:
        chosen = field.choices.index(field.value)
        return str(st.selectbox(field.label, field.choices, chosen, key=key, help=help, persist_state="session"))
    return st.text_input(field.label, field.value, key=key, help=help, persist_state="session")


def look(preset: str, overrides: list[str], data: Data) -> None:
    """What the model would see, and what it is, before it is trained."""
    known = [] if data.classes is None else [f"model.num_classes={data.classes}", "model.channels=3"]
    key = " ".join([preset, *overrides])
    if st.button("Look at the pictures and the model first", key="look"):
        images = min(SHOWN, data.images or SHOWN)
        parts.begin(
            "preview", lambda out: commands.preview(preset, overrides, out / "seen.png", images), key=f"seen {key}"
        )
        parts.begin("summary", lambda _: commands.summary(preset, [*overrides, *known]), key=f"summary {key}")
    seen, described = parts.job_of(f"seen {key}"), parts.job_of(f"summary {key}")
    if seen is not None and (ended := parts.follow(seen, "preparing the pictures")) is not None and ended.well:
        said = "Training images as the model sees them: augmented, with their labels."
        parts.drawing(seen.results / "seen.png", said)
    if described is not None and (ended := parts.follow(described, "describing the model")) is not None and ended.well:
        with st.expander("Layers of the model"):
            st.code(described.output(), language=None)


def start(preset: str, overrides: list[str], data: Data) -> None:
    number = st.session_state.setdefault("number of the run", time.strftime("%Y%m%d-%H%M%S"))
    what = preset if data.classes is None or data.root is None else workspace.mended_name(data.root.resolve().name)
    key = f"name {what} {number}"
    text = st.text_input(
        "Name of the run", f"{what}-{number}", key=key, help="a folder in runs/", persist_state="session"
    )
    try:
        run = RUNS / workspace.plain_name(text, "Name of the run")
        RunFolder.require_new(run)
    except UserError as error:
        st.error(parts.plain(str(error)))
        return
    command = commands.train(preset, overrides, run)
    parts.show_command(command)
    if st.button("Start", type="primary", key="start"):
        if parts.launch(TRAIN, command, run) is None:
            return
        st.session_state[parts.RUN_IN_MIND] = str(run)
        st.session_state[STARTED] = True
        del st.session_state["number of the run"]
        st.rerun()
