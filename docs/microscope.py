"""The data of the microscope, the page in docs/static/microscope/ on which one takes the model apart.

    python docs/microscope.py FOLDER         the page and its data into FOLDER: open FOLDER/index.html
    python docs/microscope.py --keep RUN     keep the parameters of a run in docs/figures/microscope.npz

The parameters that are kept come from

    python train.py demo model.image_size=16 model.channels=1 model.patch_size=4 model.d_model=12 model.heads=3 \
        model.layers=2 model.mlp_dim=24 model.pooling=class_token model.class_token=true model.positions=learned \
        data.classes=6 augment.crop_padding=1 optim.learning_rate=4e-3 train.epochs=40 --run RUN

Sphinx does the first of these when it has built the book. What the page quotes, a Python line or a formula with its
chapter, is read from the sources at that time. docs/microscope_dump.py adds the numbers of the self-test.
"""

import argparse
import base64
import html
import json
import os
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402
import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402
from tags import ONE_PAGE, by_number, formulas, lines_of, mathml  # noqa: E402

from data import shape_drawing  # noqa: E402
from model.one_page import block_layers  # noqa: E402
from model.vit import ViT  # noqa: E402

PAGE = HERE / "static" / "microscope"
KEPT = HERE / "figures" / "microscope.npz"
MODEL = ViT(image_size=16, channels=1, patch_size=4, d_model=12, heads=3, layers=2, mlp_dim=24, num_classes=6,
            head_weights="glorot")  # fmt: skip
SHOWN = (("disc", 3), ("ring", 1), ("crescent", 5), ("semicircle", 1), ("triangle", 11), ("square", 4),
         ("disc", 2), ("ring", 3), ("crescent", 1), ("semicircle", 5), ("triangle", 3), ("square", 3))  # fmt: skip
"""The pictures: a class and the seed of its drawing. The model takes the first for a square, the sixth for a disc."""


def flat_parameters(params: Any) -> dict[str, np.ndarray]:
    """The parameters of a ViT under the names that vit.js has for them, in its order."""
    flat: dict[str, Any] = {}
    places = params["position_embedding"]

    def add(prefix: str, layer: Any) -> None:
        flat.update({f"{prefix}/{key}": layer[key] for key in ("W", "b", "gamma", "beta") if key in layer})

    add("patch_embedding", params["patch_embedding"]["project"])
    flat |= {"class_token": places["class_token"], "positions": places["positions"]}
    for i in range(len(params["encoder"])):
        names = ("norm_1", "qkv", "out", "norm_2", "expand", "project")
        for name, layer in zip(names, block_layers(params, i), strict=True):
            add(f"block_{i}/{name}", layer)
    add("norm", params["norm"])
    add("head", params["head"])
    return {name: np.asarray(value) for name, value in flat.items()}


def tree_of(row: np.ndarray) -> Any:
    """The parameters of MODEL from the numbers of `flat_parameters`, side by side."""
    shapes = jax.eval_shape(MODEL.init, jax.random.key(0))
    places = jax.tree.unflatten(jax.tree.structure(shapes), range(len(jax.tree.leaves(shapes))))
    leaves: list[Any] = [None] * len(jax.tree.leaves(shapes))
    by_place = jax.tree.leaves(shapes)
    start = 0
    for place in flat_places(places):
        shape = by_place[place].shape
        leaves[place] = row[start : start + int(np.prod(shape))].reshape(shape)
        start += int(np.prod(shape))
    return jax.tree.unflatten(jax.tree.structure(shapes), leaves)


def flat_places(places: Any) -> list[int]:
    return [int(place) for place in flat_parameters(places).values()]


def picture(class_id: str, seed: int) -> np.ndarray:
    """A generated shape as the model was trained on them: grey, uint8 (16, 16)."""
    drawn, _ = shape_drawing.draw(class_id, np.random.default_rng(seed))
    return np.asarray(drawn.convert("L").resize((16, 16), Image.Resampling.BICUBIC))


def keep(run: str) -> None:
    """Writes KEPT: the parameters of the best checkpoint of a run, those of an untrained model, and what was shown."""
    from training.run_folder import RunFolder
    from training.trained import load_trained

    trained = load_trained(RunFolder.open(run))
    if replace(trained.model, head_weights=MODEL.head_weights) != MODEL:
        raise SystemExit(f"{run}: not the model of this page; the docstring has the command that trains it")
    rows = {"trained": trained.params, "untrained": MODEL.init(jax.random.key(0))}
    np.savez_compressed(
        KEPT,
        **{name: np.concatenate([part.ravel() for part in flat_parameters(tree).values()]).astype(np.float32)
           for name, tree in rows.items()},
        about=np.array(json.dumps({
            "classes": trained.classes.class_names, "mean": trained.classes.mean[0], "std": trained.classes.std[0],
        })),
        images=np.stack([picture(*which) for which in SHOWN]),
        labels=np.array([trained.classes.class_ids.index(class_id) for class_id, _ in SHOWN]),
    )  # fmt: skip
    print(f"{KEPT}: {KEPT.stat().st_size / 1000:.0f} kB")


def one_page_lines(tag: str) -> dict[str, list[list[Any]]]:
    """At most two lines of model/one_page.py that cite a tag, [number, code], for each pass that they belong to.

    Lines of the functions that the two passes call come first: there the formula is written out.
    """
    passes: dict[str, list[tuple[bool, int, str]]] = {}
    for line in lines_of(ONE_PAGE)[tag]:
        way = "backward" if line.function.endswith("_backward") or line.function == "uncut" else "forward"
        quoted = (line.function in ("vit_forward", "vit_backward"), line.number, line.code)
        passes.setdefault(way, []).append(quoted)
    return {way: [[number, code] for _, number, code in sorted(quoted)[:2]] for way, quoted in passes.items()}


def plain(formula: str) -> str:
    """MathML with the characters themselves for their numbers, except for those that HTML writes as entities."""

    def character(code: re.Match[str]) -> str:
        return html.escape(chr(int(code[1], 16)), quote=False)

    return re.sub(r"&#x([0-9A-F]+);", character, formula.replace(" />", "/>"))


def tags(wanted: set[str]) -> dict[str, Any]:
    """What the page shows of each tag. Raises KeyError for one that no chapter has, or no line of one_page.py cites."""
    made = {}
    for tag in by_number(wanted):
        formula = formulas()[tag]
        made[tag] = {
            "formula": plain(mathml(formula.tex)),
            "long": len(re.sub(r"\\[a-z]+", "x", formula.tex)) > 50,
            "page": formula.page, "title": formula.title, "exercises": " ".join(formula.exercises),
            "lines": one_page_lines(tag),
        }  # fmt: skip
    return made


def wanted_tags() -> set[str]:
    """The tags of explain.js."""
    return set(re.findall(r'"([A-Z]{2,}\.\d+)"', (PAGE / "explain.js").read_text(encoding="utf-8")))


def packed(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def data_script() -> str:
    """The text of data.js."""
    with np.load(KEPT) as kept:
        about = json.loads(str(kept["about"]))
        data = {
            **about,
            "trained": packed(kept["trained"].astype("<f4")),
            "untrained": packed(kept["untrained"].astype("<f4")),
            "images": [packed(image) for image in kept["images"]],
            "labels": kept["labels"].tolist(),
            "tags": tags(wanted_tags()),
            "python": ONE_PAGE,
        }
    return "const DATA = " + json.dumps(data, ensure_ascii=False, separators=(",", ":")) + ";\n"


def build(folder: Path) -> None:
    """The page with its data in `folder`, and the numbers that index.html#selftest compares to."""
    from microscope_dump import selftest_script  # here, as it imports this module

    folder.mkdir(parents=True, exist_ok=True)
    for file in PAGE.iterdir():
        if not (folder / file.name).exists() or not file.samefile(folder / file.name):
            shutil.copy(file, folder)
    (folder / "data.js").write_text(data_script(), encoding="utf-8", newline="\n")
    (folder / "selftest-data.js").write_text(selftest_script(), encoding="utf-8", newline="\n")


def setup(app: Any) -> dict[str, bool]:
    """For Sphinx: the page is completed when the book has been built."""

    def complete(app: Any, error: Exception | None) -> None:
        if error is None and app.builder.name == "html":
            build(Path(app.outdir) / "_static" / "microscope")

    app.connect("build-finished", complete)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the microscope's page, or keep the parameters that it shows.")
    parser.add_argument("folder", nargs="?", type=Path, help="where the page is put, with its data")
    parser.add_argument("--keep", metavar="RUN", help="keep the parameters of this run")
    args = parser.parse_args()
    if args.keep:
        keep(args.keep)
    if args.folder:
        build(args.folder)
        print(f"open {args.folder / 'index.html'}")


if __name__ == "__main__":
    main()
