"""Files that are damaged, or made to do harm: refused in a sentence, without a traceback, and without much memory."""

import ast
import io
import json
import math
import random
import re
import tracemalloc
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.faults.__main__ import FAULTS, INPUTS, REFUSED, outcome
from benchmarks.faults.inputs import CLASSES, META, ROW, TREE, hold
from benchmarks.faults.kills import Kills
from benchmarks.faults.mutations import LARGE, NUMBERS, npy, rewrite
from common.documents import read_json
from common.errors import CheckpointError, ConfigError, DamagedError, DataError, UserError
from data.arrays import read_npy
from data.cache import Build, open_build
from data.tiny_imagenet import load
from data.unpack import unpack
from exercises.machinery.progress import Progress as Exercises
from tests.test_structure import FILES
from tests.tiny_data import write_data_set
from tests.tiny_runs import ROOT
from training import checkpoint, presets, sweep
from training.classes import read_classes, write_classes
from training.config import from_yaml, load_config
from training.metrics import HEADER, MetricsRow, append_row, read_rows
from training.progress import Progress
from training.sweep import Sweep
from training.yaml_text import parse_yaml


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    checkpoint.save(tmp_path / "best.npz", TREE, META)
    return tmp_path / "best.npz"


def refused(read: Callable[[], Any]) -> str:
    """The message of a refusal."""
    with pytest.raises(UserError) as caught:
        read()
    return str(caught.value)


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Fail a test that takes more than 16 MB at a time."""
    tracemalloc.start()
    yield
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 16_000_000


# Small files that ask for much memory.


USES: list[Callable[[Path], Any]] = [
    checkpoint.load, checkpoint.load_meta, checkpoint.branches, lambda path: checkpoint.restore(path, TREE)
]  # fmt: skip


@pytest.fixture
def bomb(saved: Path) -> Path:
    """A checkpoint of a few kilobytes that unpacks to 64 MB."""
    rewrite(saved, {"params/W.npy": npy((16_000_000,), content=bytes(64_000_000))}, zipfile.ZIP_DEFLATED)
    assert saved.stat().st_size < 100_000
    return saved


@pytest.mark.parametrize("use", USES)
def test_a_zip_bomb_is_not_unpacked(bomb: Path, little_memory: None, use: Callable[[Path], Any]) -> None:
    assert refused(lambda: use(bomb)) == (
        f"{bomb}: compressed, so it could unpack to any size and is not read; use another checkpoint, or train again"
    )


@pytest.fixture
def large(saved: Path) -> Path:
    """A checkpoint with an array of 20 MB where the model has a small one."""
    rewrite(saved, {"params/W.npy": npy((5_000_000,), content=bytes(20_000_000))})
    return saved


def test_an_array_is_not_read_if_its_shape_is_another_one(large: Path, little_memory: None) -> None:
    """A file with holes takes no room on the disk, and its arrays may be of any size all the same."""
    assert "params/W has shape (5000000,)" in refused(lambda: checkpoint.restore(large, TREE))


def test_a_header_may_not_promise_more_than_there_is(saved: Path, tmp_path: Path, little_memory: None) -> None:
    rewrite(saved, {"params/W.npy": npy((2**40, 2**20))})
    assert "params/W: damaged or cut short (it has 152 bytes, and its header" in refused(lambda: checkpoint.load(saved))
    (tmp_path / "a.npy").write_bytes(npy((2**40, 2**20)))
    assert "a.npy: damaged or cut short" in refused(lambda: read_npy(tmp_path / "a.npy"))


def test_an_alias_bomb_is_refused(little_memory: None) -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    for text in (bomb, bomb.replace("[x", "[{x: y}").replace("i: &i", "i: &i !!set") + "demo:\n  <<: *i\n"):
        with pytest.raises(ConfigError, match=r"^c\.yml, line \d+: more than 100,000 values"):
            parse_yaml(text, "c.yml")
    aliases = "a: &a {layers: 3}\nb: {<<: *a, heads: 2}\nc: [*a, *a]"
    assert parse_yaml(aliases, "") == {
        "a": {"layers": "3"}, "b": {"layers": "3", "heads": "2"}, "c": [{"layers": "3"}] * 2
    }  # fmt: skip


def test_files_that_are_too_large_to_be_configurations_are_not_read(tmp_path: Path, little_memory: None) -> None:
    (tmp_path / "c.yml").write_bytes(b"#" * 2**21)
    assert "c.yml: more than 1,048,576 bytes" in refused(lambda: presets.read_presets(tmp_path / "c.yml"))
    with pytest.raises(ConfigError, match="/dev/zero: more than"):
        presets.read_presets(Path("/dev/zero"))


def test_a_sweep_of_millions_of_runs_is_refused(tmp_path: Path) -> None:
    values = ["train.seed=" + ",".join(map(str, range(2000))), "train.batch_size=" + ",".join(map(str, range(1, 2000)))]
    assert "more than 10,000 runs" in refused(lambda: Sweep.create("demo", [], values, tmp_path / "sweep"))
    assert list(tmp_path.iterdir()) == []


# Checkpoints.


@pytest.mark.parametrize(
    "content",
    [
        b"", b"PK", b"\x93NUMPY", npy()[:40], npy()[:-1], npy() + b"x", b"\x93NUMPY\x09" + npy()[7:],
        npy("(2, 3"), npy("(2, -3)"), npy("(2, 3.0)"), npy("True"), npy("(True, 6)"), npy("[" * 50), npy("'"),
        npy(descr="<f0"), npy(descr="O"), npy(descr="|V4"), npy(descr="<U1"), npy(descr="<M8[s]"), npy(descr=3),
        npy(descr=[("a", "<f4")]), npy(descr="(2,)<f4"), npy(descr="<f" + "9" * 30), npy("(" * 40 + "2" + ")" * 40),
        npy().replace(b"'shape'", b"'chape'"), npy().replace(b"{", b"("), npy().replace(b"False", b"00000"),
        npy().replace(b"{'descr'", b"\xff\xff\x00\x00\x00\x00\x00\x00"),
    ],
)  # fmt: skip
def test_odd_arrays_are_refused(saved: Path, tmp_path: Path, content: bytes) -> None:
    rewrite(saved, {"params/W.npy": content})
    for use in (checkpoint.load, lambda path: checkpoint.restore(path, TREE)):
        assert refused(lambda use=use: use(saved)).startswith(f"{saved}: params/W")
    (tmp_path / "a.npy").write_bytes(content)
    assert refused(lambda: read_npy(tmp_path / "a.npy")).startswith(f"{tmp_path}/a.npy")


def test_a_member_may_not_be_there_twice(saved: Path) -> None:
    with zipfile.ZipFile(saved, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("params/W.npy", npy())
    assert "a name is in it twice" in refused(lambda: checkpoint.load(saved))


@pytest.mark.parametrize("value", NUMBERS)
@pytest.mark.parametrize("field", ["step", "loss_sum", "loss_count", "epoch_wait", "best_top1"])
def test_progress_that_no_run_can_make_is_refused(saved: Path, field: str, value: str) -> None:
    whole = json.dumps(META["progress"] | {field: 77}).replace("77", value)
    rewrite(saved, {"checkpoint.json": f'{{"format": 1, "meta": {{"progress": {whole}}}}}'.encode()})
    if (field, value) in {("best_top1", "-1"), ("loss_sum", "-1"), ("loss_sum", LARGE), ("epoch_wait", LARGE)}:
        Progress.from_meta(checkpoint.load_meta(saved), saved)  # no evaluation yet; a sum may be any number
    else:
        assert refused(lambda: Progress.from_meta(checkpoint.load_meta(saved), saved)).startswith(f"{saved}: ")


@pytest.mark.parametrize("meta", [{}, {"progress": None}, {"progress": {"steps": 3}}, {"progress": [1]}])
def test_a_checkpoint_without_a_step_is_refused(meta: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="its progress cannot be read"):
        Progress.from_meta(meta, "last.npz", counted=7)
    with pytest.raises(CheckpointError, match="it is of step 7, and the optimizer of step 8"):
        Progress.from_meta(META, "last.npz", counted=8)


# Texts.


ODD_YAML = ["!!int ''", "2026-01-01: 3", "&a [*a]", "&a {b: *a}", "[" * 2000, "? [a]\n: b", "!!set {a}"]


@pytest.mark.parametrize("text", ODD_YAML)
def test_odd_yaml_is_refused(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for document in (text, f"preset: a\nmodel: {text}", f"preset: a\n{text}", f"preset: a\nmodel: {{layers: {text}}}"):
        with pytest.raises(ConfigError, match=r"^config\.yml"):
            from_yaml(document, "config.yml")
    (tmp_path / "configs.yml").write_text(f"defaults: {text}\n")
    monkeypatch.setattr(presets, "CONFIGS", tmp_path / "configs.yml")
    assert "configs.yml" in refused(lambda: load_config("demo"))
    assert "configs.yml" in refused(presets.describe_options)


@pytest.mark.parametrize("defaults", ["", "3", "[1]", "{model: 3}", "{model: }"])
def test_defaults_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, defaults: str) -> None:
    (tmp_path / "configs.yml").write_text(f"defaults: {defaults}\ndemo:\n")
    monkeypatch.setattr(presets, "CONFIGS", tmp_path / "configs.yml")
    assert refused(lambda: load_config("demo")).startswith("configs.yml, defaults: ")
    if defaults in ("", "{model: }"):
        assert presets.describe_options() == ""
    else:
        assert refused(presets.describe_options).startswith("configs.yml, defaults: ")


@pytest.mark.parametrize(
    "change",
    [
        {"wnids": []}, {"names": []}, {"names": ["ant", ""]}, {"names": "ab"}, {"names": ["ant", 3]},
        {"wnids": ["a", "a"]},
        {"mean": 0.5}, {"mean": ["0.5"] * 3}, {"mean": [math.nan] * 3}, {"std": [0.2, 0, 0.2]}, {"std": [0.2]},
        {"std": [True] * 3}, {"std": [-0.1] * 3}, {"fingerprint": None}, {"more": 3}, {"mean": []},
    ],
)  # fmt: skip
def test_classes_that_no_data_set_has_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "classes.json"
    write_classes(path, CLASSES)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert re.match(
        rf"{path}: damaged \(.*\); delete it: `python train\.py --resume RUN` writes it anew",
        refused(lambda: read_classes(path)),
    )


@pytest.mark.parametrize(
    "cells",
    [
        {"step": "0"}, {"step": "6"}, {"step": "1" + 30 * "0"}, {"step": "1_0"}, {"epoch": "13"}, {"train_loss": "nan"},
        {"train_loss": ""}, {"val_loss": "inf"}, {"val_loss": "1e999"}, {"seconds": "٣"}, {"seconds": "0x1"},
    ],
)  # fmt: skip
def test_rows_that_no_run_writes_are_refused(tmp_path: Path, cells: dict[str, str]) -> None:
    path = tmp_path / "metrics.csv"
    append_row(path, ROW)
    append_row(path, ROW._replace(step=12))
    lines = path.read_text().splitlines()
    row = dict(zip(MetricsRow._fields, lines[2].split(","), strict=True)) | cells
    path.write_text("\n".join([*lines[:2], ",".join(row.values())]) + "\n", encoding="utf-8")
    assert re.match(rf"{path}, line 3: damaged: .*; delete the line", refused(lambda: read_rows(path)))
    path.write_text(HEADER + lines[1].replace("1,6,", "0,0,") + "\n")
    assert "line 2: damaged" in refused(lambda: read_rows(path))


@pytest.mark.parametrize(
    "text",
    [
        "preset: demo\noverrides: abc\nsweep: {train.seed: ['1']}",
        "preset: demo\noverrides: []\nsweep: {train.seed: '12'}",
        "preset: demo\noverrides: []\nsweep: {}", "preset: demo\noverrides: []\nsweep: {train.seed: []}",
        "preset: [demo]\noverrides: []\nsweep: {train.seed: ['1']}", "preset: demo\noverrides: [a: b]\nsweep: {a: [b]}",
        "&a [*a]", "", "preset: demo\noverrides:\nsweep: {train.seed: [1]}",
    ],
)  # fmt: skip
def test_a_sweep_that_none_writes_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / sweep.DESCRIPTION).write_text(text)
    assert refused(lambda: Sweep.open(tmp_path)).startswith(f"{tmp_path}/sweep.yml")


@pytest.mark.parametrize("hints", ["[]", '{"a": true}', '{"a": -3}', '{"a": 1.5}', "[" * 3000, '{"a": NaN}'])
def test_progress_of_exercises_that_none_writes_is_refused(tmp_path: Path, hints: str) -> None:
    (tmp_path / ".progress.json").write_text(f'{{"passed": [], "hints": {hints}}}')
    assert "is damaged: delete it" in refused(lambda: Exercises.load(tmp_path))


@pytest.mark.parametrize(
    "text", ["", "\ufeff", "[", "[" * 5000, "9" * 5000, "NaN", '{"a": 1, "a": 2}', "[1e999]", "\0"]
)
def test_text_that_is_no_json(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text, encoding="utf-8")
    assert refused(lambda: read_json(path, list[float])).startswith(f"{path}: damaged")
    path.write_bytes(b"\xff\xfe")
    assert "not a text file in UTF-8" in refused(lambda: read_json(path, list[float]))


# The cache, and archives.


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build of three classes. What a test changes in it, it restores."""
    root = write_data_set(tmp_path_factory.mktemp("damage") / "tiny")
    load(root, workers=1, quiet=True)
    (build,) = (root / "cache").glob("v*")
    return build


def opened(build: Path) -> Build | None:
    return open_build(build, json.loads((build / "about.json").read_text())["stamp"])


def unsealed(**change: Any) -> Callable[[Path], Any]:
    def write(build: Path) -> None:
        about = json.loads((build / "about.json").read_text())
        del about["seal"]  # as of an earlier version
        (build / "about.json").write_text(json.dumps(about | change))

    return write


def array(name: str, make: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], Any]:
    return lambda build: np.save(build / f"{name}.npy", make(np.load(build / f"{name}.npy")))


CHANGES: dict[str, Callable[[Path], Any]] = {
    "a label too large": array("val_labels", lambda labels: labels + np.int32(1)),
    "a label below 0": array("val_labels", lambda labels: labels - np.int32(1)),
    "labels exchanged": array("train_labels", lambda labels: labels[::-1].copy()),
    "labels of 64 bits": array("train_labels", lambda labels: labels.astype(np.int64)),
    "labels that are an archive": lambda build: (build / "val_labels.npy").write_bytes(b"PK\x03\x04" + bytes(50)),
    "labels whose header has no end": lambda build: (build / "val_labels.npy").write_bytes(npy("(2, ")),
    "images of floats": array("train_images", lambda images: images.astype(np.float32)),
    "images without colours": array("val_images", lambda images: images[..., 0].copy()),
    "images of another size": array("val_images", lambda images: images[:, 1:].copy()),
    "an image too many": lambda build: (build / "val_images.npy").open("ab").write(bytes(192)),
    "a mean that is none": unsealed(mean=[math.nan] * 3),
    "a mean of two colours": unsealed(mean=[0.5, 0.5]),
    "no deviation": unsealed(std=[0.0] * 3),
    "a class without a name": unsealed(names=["a", "b"]),
    "another mean": lambda build: (build / "about.json").write_text(
        re.sub(r'("mean": \[\s*0\.\d)\d', r"\g<1>x".replace("x", "77"), (build / "about.json").read_text())
    ),
}  # fmt: skip


@pytest.fixture
def whole(built: Path) -> Any:
    """The build, which is whole again after the test."""
    contents = {path: path.read_bytes() for path in built.iterdir()}
    yield built
    for path, content in contents.items():
        path.write_bytes(content)


@pytest.mark.parametrize("case", CHANGES)
def test_a_cache_that_was_not_built_like_that_is_not_used(whole: Path, case: str) -> None:
    assert opened(whole) is not None
    CHANGES[case](whole)
    assert opened(whole) is None


def test_a_cache_of_before_seals_is_used(whole: Path) -> None:
    unsealed()(whole)
    assert opened(whole) is not None


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_archives_damaged_inside_are_refused(tmp_path: Path, method: int) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("top/a", bytes(range(256)) * 4)
    content, rng = file.getvalue(), random.Random(method)
    path, found = tmp_path / "a.zip", 0
    for number in range(60):
        damaged = bytearray(content)
        for _ in range(rng.choice([1, 1, 8])):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        target = tmp_path / str(number)
        target.mkdir()
        try:
            unpack(path, target, "top", quiet=True)
        except DataError:
            found += 1
        else:
            for unpacked in target.rglob("*"):
                assert unpacked.is_dir() or unpacked.read_bytes() in (bytes(range(256)) * 4, b"")
    assert found > 20


def test_a_member_whose_descriptions_disagree_is_refused(tmp_path: Path) -> None:
    """Zeros over its entry in the list at the end make an empty file of it for zipfile."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a/1.txt", b"something")
    content = bytearray((tmp_path / "a.zip").read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 16 : entry + 28] = bytes(12)  # checksum and both sizes
    (tmp_path / "a.zip").write_bytes(content)
    (tmp_path / "to").mkdir()
    assert "its two descriptions disagree" in refused(lambda: unpack(tmp_path / "a.zip", tmp_path / "to", top="a"))


@pytest.mark.parametrize(
    "character", ["\x85", "\u2028", "\u2029", "\ufeff", "\u202e", "é", "\t", '"', "'", "\\", "#", ": "]
)
def test_any_name_can_be_written_to_a_configuration(character: str) -> None:
    read = load_config("demo", [f"data.root=a{character}b"])
    assert from_yaml(read.to_yaml()).data.root == read.data.root == f"a{character}b"


# A part of the campaign `python -m benchmarks.faults`, from a fixed seed.


@pytest.mark.parametrize("kind", INPUTS)
def test_damaged_inputs_are_refused_or_sound(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    attempt, rng = INPUTS[kind](tmp_path), random.Random(f"{kind} 0")
    outcomes = Counter(outcome(attempt, rng, kind, 0) for _ in range(60))
    assert not outcomes[FAULTS], capsys.readouterr().out
    assert outcomes[REFUSED] > 5


def test_a_broken_promise_and_a_traceback_are_faults(capsys: pytest.CaptureFixture[str]) -> None:
    def promise(rng: random.Random) -> None:
        hold(False, "two is three")

    assert outcome(promise, random.Random(0), "cache", 7) == FAULTS
    assert outcome(lambda rng: [][0], random.Random(0), "cache", 7) == FAULTS
    assert outcome(lambda rng: refuse(), random.Random(0), "cache", 7) == REFUSED
    printed = capsys.readouterr().out
    assert printed.count("python -m benchmarks.faults --kind 'cache' --seed 7: ") == 2
    assert "Fault: broken: two is three" in printed


def refuse() -> None:
    raise UserError("no")


def test_a_run_that_is_killed_ends_as_if_it_was_not(tmp_path: Path) -> None:
    kills = Kills(tmp_path)
    kills.run(random.Random(2))
    assert kills.count


# No file of the product is read in another way, but for these.

READERS = {
    "data/gzipped.py": {"gzip.GzipFile", "tarfile.TarFile"},
    "data/arrays.py": {"zipfile.ZipFile", "np.lib.format", "np.memmap"},
    "common/documents.py": {"json.loads"},
    "training/yaml_text.py": {"yaml"},
    "data/workers.py": {"json.loads"},  # lines between processes of one program
    "benchmarks/contestants/workers.py": {"json.loads"},
    "benchmarks/contestants/__main__.py": {"json.loads"},
    "benchmarks/contestants/problem.py": {"np.load"},  # what one process of the benchmark has written for another
    "benchmarks/faults/data_inputs.py": {"json.loads", "gzip."},  # what it has written itself
    "benchmarks/faults/mutations.py": {"zipfile.ZipFile"},
    "studio/guesses.py": {"csv.DictReader"},  # what a command has written for the studio
    "benchmarks/gpu/readers.py": {"json.loads"},  # results of its own processes
    "benchmarks/gpu/profile.py": {"json.load", "gzip.open"},  # a trace that JAX has written
}
CALLS = (
    r"json\.loads?|(?:np|numpy)\.(?:load|memmap|fromfile|loadtxt|genfromtxt)|.*\bformat\.(?:read|open)_\w+"
    r"|zipfile\.\w+|gzip\.\w+|tarfile\.\w+|pickle\.\w+|yaml\.\w*(?:load|compose|parse|scan)\w*|csv\.(?:reader|DictReader)|.*open_memmap"
)


def reads(source: str) -> set[str]:
    """What in a program reads a file of a kind that can be damaged."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and re.fullmatch(CALLS, name := ast.unparse(node.func)):
            modes = [word.value for word in node.args if isinstance(word, ast.Constant)]
            if "w" not in modes and name != "zipfile.ZipInfo":
                found.add(name)
    return found


def test_there_is_one_reader() -> None:
    assert reads("json.load(f); np.load(p); zipfile.ZipFile(p); zipfile.ZipFile(p, 'w'); json.dumps(3)") == {
        "json.load", "np.load", "zipfile.ZipFile"
    }  # fmt: skip
    assert reads("gzip.open(p); tarfile.open(p)") == {"gzip.open", "tarfile.open"}
    assert reads("yaml.safe_load(t); csv.reader(f); np.lib.format.read_array(f); format.open_memmap(p)") == {
        "yaml.safe_load", "csv.reader", "np.lib.format.read_array", "format.open_memmap"
    }  # fmt: skip
    for file in FILES:
        name = str(file.relative_to(ROOT))
        allowed = READERS.get(name, set())
        calls = reads(file.read_text(encoding="utf-8"))
        others = {call for call in calls if not call.startswith(tuple(allowed))}
        assert others == set(), name


def test_what_is_refused_was_there(saved: Path) -> None:
    """The files above, as they were written, are accepted."""
    assert Progress.from_meta(checkpoint.load_meta(saved), saved, counted=7) == Progress(**META["progress"])
    rewrite(saved, {"params/W.npy": npy()})
    assert checkpoint.restore(saved, TREE)[0]["params"]["W"].tolist() == [[0.0] * 3] * 2
    with pytest.raises(DamagedError):
        read_npy(saved)
