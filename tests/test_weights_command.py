"""`python -m training.weights`: from a run to a file and back, and what is refused."""

import errno
import json
import os
import pickle
import re
import runpy
import struct
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import evaluate
import predict
from common.command import run_command
from common.errors import UserError
from model.weights.maps import flatten, from_names, to_names
from model.weights.namings import NAMINGS, Naming
from tests.conftest import Ended
from tests.oracle import random_params
from tests.tiny_data import jpeg
from tests.tiny_weights import (
    CLASSES,
    CONFIG,
    ENCODER,
    MEAN,
    encoder_tokens,
    export,
    imported,
    logits_of,
    make_run,
    tokens_of,
)
from training import checkpoint
from training.config import Config
from training.run_folder import RunFolder
from training.trained import load_trained
from training.weights import files as weights_files
from training.weights.__main__ import main
from training.weights.description import description_file
from training.weights.files import INSTALL, read_arrays, write_arrays
from training.weights.importing import read_weights

TO_NPZ = ("own", "google", "big_vision", "big_vision_scanned")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return make_run(tmp_path / "run")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The one line of the error, and nothing is left behind."""
    assert run_command(main, list(map(str, arguments))) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--run" not in arguments or not Path(arguments[list(arguments).index("--run") + 1]).exists()
    return error


@pytest.mark.parametrize("config", [CONFIG, MEAN], ids=["class token", "mean and sinusoids"])
@pytest.mark.parametrize("names", NAMINGS)
def test_a_run_comes_back_with_its_logits_classes_and_preparation(tmp_path: Path, config: Config, names: str) -> None:
    if names not in TO_NPZ:
        pytest.importorskip("safetensors")
    run = make_run(tmp_path / "run", config)
    if config is MEAN and names in ("huggingface", "torchvision"):
        with pytest.raises(UserError, match="has no model with pooling=mean; `--names own` has every model"):
            export(run, tmp_path / "out", "--names", names)
        return
    file = tmp_path / ("weights.npz" if names in TO_NPZ else "weights.safetensors")
    back = imported(export(run, file, "--names", names))
    np.testing.assert_allclose(logits_of(back), logits_of(run), rtol=1e-5, atol=1e-5)
    trained = load_trained(back)
    assert trained.classes == CLASSES
    assert trained.step == 7
    assert (trained.config.data.name, trained.config.data.resize) == ("cifar10", "pad")
    assert trained.model.gelu == "tanh"


@pytest.mark.parametrize("pooling", ["class_token", "mean"])
@pytest.mark.parametrize("names", NAMINGS)
def test_of_an_autoencoder_the_encoder_is_exported_and_begins_a_training(
    tmp_path: Path, names: str, pooling: Literal["class_token", "mean"], capsys: pytest.CaptureFixture[str]
) -> None:
    if names not in TO_NPZ:
        pytest.importorskip("safetensors")
    run = make_run(tmp_path / "run", replace(ENCODER, model=replace(ENCODER.model, pooling=pooling)))
    file = export(run, tmp_path / ("x.npz" if names in TO_NPZ else "x.safetensors"), "--names", names)
    assert "warning: an encoder without head" in capsys.readouterr().err
    assert not any(re.search("head|decoder|classifier", name) for name in read_arrays(file) if "heads" not in name)
    found = read_weights(file, need_head=False)
    assert not found.has_head
    assert replace(found.config.model, pooling="class_token") == ENCODER.model
    np.testing.assert_allclose(tokens_of(found.found.params), encoder_tokens(run), rtol=1e-5, atol=1e-5)
    assert "there is no head in it" in refused(capsys, "import", file, "--run", tmp_path / "new")


def test_what_no_file_says_is_assumed_told_and_can_be_given(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = export(run, tmp_path / "weights.npz", "--names", "google")
    description_file(file).unlink()
    capsys.readouterr()
    bare = load_trained(imported(file))
    output = capsys.readouterr().out
    assert "gelu=tanh eps=1e-06 mean=0.5 std=0.5 classes=without names" in output
    assert max(map(len, output.replace(str(tmp_path), "").splitlines())) <= 80
    assert bare.model == CONFIG.model
    assert bare.classes.class_ids == bare.classes.class_names == ("class 0", "class 1", "class 2")
    assert bare.config.data.name == "image_folder"
    given = load_trained(
        imported(file, "model.gelu=erf", "data.resize=squash", "--mean", "0.5,0.4,0.3", "--std", "0.25")
    )
    assert (given.model.gelu, given.config.data.resize) == ("erf", "squash")
    assert (given.classes.mean, given.classes.std) == ((0.5, 0.4, 0.3), (0.25,) * 3)


def photos(root: Path, *classes: str) -> Path:
    """An image folder, one image of each class to train on and one to validate on."""
    for number, name in enumerate(f"{split}/{name}" for split in ("train", "val") for name in classes):
        (root / name).mkdir(parents=True)
        (root / name / "x.jpg").write_bytes(jpeg(number))
    return root


def test_what_an_import_says_to_do_next_works_though_the_classes_are_not_known(
    run: RunFolder, tmp_path: Path, call: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = export(run, tmp_path / "weights.npz", "--names", "google")
    description_file(file).unlink()
    photos(tmp_path / "DIR", "dog", "eel", "fox")
    (tmp_path / "IMAGE").write_bytes(jpeg(1))
    told = call(main, "import", "weights.npz", "--run", "new").out.splitlines()
    commands = [line.split()[1:] for line in told if line.startswith("  python ")]
    assert [name for name, *_ in commands] == ["predict.py", "evaluate.py"]
    assert "where DIR has images of its 3 classes, in their order, as image_folder;" in told[-2]
    options = ["data.workers=1"]
    assert call(predict.main, *commands[0][1:], *options).code == 0
    ended = call(evaluate.main, *commands[1][1:], *options, "--html", "report.html")
    assert ended.code == 0
    warning = ended.err.splitlines()[-1]
    assert warning.endswith("are taken in their order: dog (dog) for class 0, and so on")
    assert "best classes" in ended.out or "classes, the best first" in ended.out
    page = (tmp_path / "report.html").read_text()
    assert all(name in text for name in ("dog", "eel", "fox") for text in (ended.out, page))
    assert "class 0" not in page
    other = photos(tmp_path / "other", "dog", "eel")
    ended = call(evaluate.main, "new", f"data.root={other}", *options)
    assert "its classes are not those of new" in ended.err.splitlines()[-1]


def test_an_imported_run_has_not_seen_the_images_that_the_run_had_not_seen(tmp_path: Path) -> None:
    """An unknown run may be evaluated on any part of the images."""
    config = replace(CONFIG, data=replace(CONFIG.data, holdout=0.25, classes=3))
    file = export(make_run(tmp_path / "run", config), tmp_path / "weights.npz")
    back = load_trained(imported(file))
    assert (back.config.data.holdout, back.config.data.classes) == (0.25, 3)
    evaluate.check_holdout(back, 0.25)
    with pytest.raises(UserError, match="it knows images of that slice"):
        evaluate.check_holdout(back, 0.1)
    description_file(file).unlink()
    evaluate.check_holdout(load_trained(imported(file, "model.heads=4")), 0.1)


def test_an_imported_run_is_not_overwritten_by_a_training(run: RunFolder, tmp_path: Path) -> None:
    back = imported(export(run, tmp_path / "weights.npz"))
    with pytest.raises(UserError, match="beginning it again would overwrite"):
        back.require_checkpoint()


def test_an_import_that_cannot_be_written_leaves_the_folder_free(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = export(run, tmp_path / "weights.npz")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "best.npz")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", full)
        assert run_command(main, ["import", str(file), "--run", str(tmp_path / "new")]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert run_command(main, ["import", str(file), "--run", str(tmp_path / "new")]) == 0


def test_existing_files_are_not_overwritten(run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = export(run, tmp_path / "weights.npz")
    content = file.read_bytes()
    assert "weights.npz: exists; move it away" in refused(capsys, "export", run.path, file)
    assert file.read_bytes() == content
    assert run_command(main, ["import", str(file), "--run", str(run.path)]) == 2
    assert "holds a run already" in capsys.readouterr().err


def google_arrays() -> dict[str, Any]:
    return to_names(NAMINGS["google"], CONFIG.model, random_params(CONFIG.model))


def test_half_precision_is_read_also_as_raw_bits(tmp_path: Path) -> None:
    """NumPy, which knows no bfloat16, writes 16 bits without a meaning."""
    halves = {name: jnp.asarray(array, jnp.bfloat16) for name, array in google_arrays().items()}
    np.savez(tmp_path / "raw.npz", **{name: np.asarray(array) for name, array in halves.items()})  # type: ignore[arg-type]
    with zipfile.ZipFile(tmp_path / "raw.npz") as archive, archive.open("cls.npy") as member:
        assert b"V2" in member.read()
    arrays = read_arrays(tmp_path / "raw.npz")
    for name, array in arrays.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, np.asarray(halves[name], np.float32))
    np.savez(tmp_path / "double.npz", **{name: array.astype(np.float64) for name, array in google_arrays().items()})
    assert {array.dtype for array in read_arrays(tmp_path / "double.npz").values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("naming", NAMINGS.values(), ids=lambda naming: naming.name)
def test_half_precision_is_read_in_each_naming(naming: Naming, dtype: str, tmp_path: Path) -> None:
    params = jax.tree.map(lambda a: jnp.asarray(a, dtype), random_params(CONFIG.model))
    arrays = to_names(naming, CONFIG.model, params)
    assert {str(array.dtype) for array in arrays.values()} == {dtype}
    np.savez(tmp_path / "weights.npz", allow_pickle=False, **arrays)  # type: ignore[arg-type]
    sizes = ["model.heads=4"] + (["model.patch_size=4", "model.image_size=8"] if naming.name == "own" else [])
    found = read_weights(tmp_path / "weights.npz", overrides=sizes)
    assert found.config.model == replace(CONFIG.model, gelu=found.config.model.gelu, eps=found.config.model.eps)
    exact = from_names(naming, CONFIG.model, {n: np.asarray(a, np.float32) for n, a in arrays.items()}).params
    for path, array in flatten(found.found.params).items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, flatten(exact)[path], err_msg=path)


def parts(folder: Path, count: int = 2) -> Path:
    """A model of timm's names in several files, and the index."""
    arrays = to_names(NAMINGS["timm"], CONFIG.model, random_params(CONFIG.model))
    names = {name: f"model-{i % count}.safetensors" for i, name in enumerate(arrays)}
    folder.mkdir()
    for file in set(names.values()):
        write_arrays(folder / file, {n: np.asarray(a, np.float32) for n, a in arrays.items() if names[n] == file})
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": names}), encoding="utf-8")
    return index


@pytest.mark.parametrize("name", ["", "model.safetensors.index.json"])
def test_a_model_in_several_files_is_read(name: str, tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    parts(tmp_path / "theirs")
    found = read_weights(tmp_path / "theirs" / name, overrides=["model.heads=4"])
    for path, array in flatten(found.found.params).items():
        np.testing.assert_allclose(array, flatten(random_params(CONFIG.model))[path], rtol=1e-6, err_msg=path)


@pytest.mark.parametrize(("change", "message"), [
    (lambda index: index.with_name("model-1.safetensors").unlink(), "model-1.safetensors: missing, but model.safeten"),
    (lambda index: index.with_name("model-1.safetensors").write_bytes(b""), "model-1.safetensors: damaged or cut"),
    (lambda index: index.write_text("[]"), "index.json: damaged"),
    (lambda index: index.write_text("{}"), "index.json: damaged (there is no array in it)"),
    (lambda index: index.write_text('{"weight_map": {"x": 1}}'), "weight_map: x: expected"),
    (lambda index: index.write_text('{"weight_map": {"x": "../y.safetensors"}}'), "../y.safetensors is no file beside"),
    (lambda index: index.write_text('{"weight_map": {"x": "model.safetensors.index.json"}}'), "is no file beside it"),
    (lambda index: index.write_text('{"weight_map": {"x": "model-1.safetensors"}}'), "no x (model-1.safetensors)"),
])  # fmt: skip
def test_a_damaged_model_in_several_files_gets_one_message(
    change: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("safetensors")
    change(parts(tmp_path / "theirs"))
    assert message in refused(capsys, "import", tmp_path / "theirs", "--run", tmp_path / "new")


def test_bfloat16_of_safetensors_is_read(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    safetensors_file(tmp_path / "x.safetensors", {"x": ("BF16", [2], 0, 4)}, struct.pack("<HH", 0x3F80, 0x4000))
    np.testing.assert_array_equal(read_arrays(tmp_path / "x.safetensors")["x"], np.array([1, 2], np.float32))


@pytest.mark.parametrize("length", [0x80, int.from_bytes(b"PK", "little")])
def test_a_header_whose_length_looks_like_a_pickle_or_a_zip_file_is_read(length: int, tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    header = b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(length)
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", length) + header + struct.pack("<f", 0.5))
    assert read_arrays(tmp_path / "x.safetensors")["x"] == 0.5


def safetensors_file(path: Path, tensors: dict[str, Any], content: bytes, length: int | None = None) -> Path:
    header = json.dumps(
        {name: {"dtype": d, "shape": s, "data_offsets": [a, b]} for name, (d, s, a, b) in tensors.items()}
    ).encode()
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + content)
    return path


DAMAGED: dict[str, tuple[dict[str, Any], bytes, int | None, str]] = {
    "a header of 4 GB": ({}, b"", 2**32, "damaged or cut short (Error while deserializing header: header too large)"),
    "overlapping": ({"x": ("F32", [2], 0, 8), "y": ("F32", [2], 4, 12)}, b"\0" * 12, None, "invalid offset"),
    "cut short": ({"x": ("F32", [2], 0, 8)}, b"\0" * 4, None, "damaged or cut short"),
    "an unknown type": ({"x": ("F33", [2], 0, 8)}, b"\0" * 8, None, "damaged or cut short"),
    "a type of 8 bits": ({"x": ("F8_E4M3", [2], 0, 2)}, b"\0" * 2, None, "x (F8_E4M3) is neither floats"),
    "a huge shape": ({"x": ("F32", [2**40, 2**40], 0, 8)}, b"\0" * 8, None, "damaged or cut short"),
    "empty": ({}, b"", None, "there are no arrays in it"),
    "something else": ({"fc.weight": ("F32", [2], 0, 8)}, b"\0" * 8, None, "of no ViT that is known here"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_safetensors_file_gets_one_message(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("safetensors")
    tensors, content, length, message = DAMAGED[kind]
    file = safetensors_file(tmp_path / "x.safetensors", tensors, content, length)
    assert message in refused(capsys, "import", file, "--run", tmp_path / "new")


class Malicious:
    def __reduce__(self) -> Any:
        return (Path("executed").write_text, ("oh",))


def torch_file(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Malicious()))


def pickle_file(path: Path) -> None:
    path.write_bytes(pickle.dumps(Malicious()))


def pickled_array(path: Path) -> None:
    np.savez(path, x=np.array([Malicious()], dtype=object), allow_pickle=True)
    path.with_name(path.name + ".npz").rename(path)


@pytest.mark.parametrize(("write", "message"), [
    (torch_file, "a pickle, which could run code and is never opened"),
    (pickle_file, "a pickle, which could run code and is never opened"),
    (pickled_array, "is a pickled object, which could run code and is never opened"),
    (lambda path: path.write_text("hello"), "no file of weights; expected .safetensors or .npz"),
    (lambda path: path.mkdir(), "a folder without model.safetensors or model.npz"),
    (lambda path: None, "there is no such file"),
    (lambda path: path.write_bytes(b""), "no file of weights"),
    (lambda path: path.write_bytes(b"PK\x03\x04" + b"\0" * 40), "damaged or cut short"),
])  # fmt: skip
def test_what_is_no_file_of_weights_gets_one_message_and_runs_nothing(
    write: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "weights.pth")
    assert message in refused(capsys, "import", "weights.pth", "--run", tmp_path / "new")
    assert not (tmp_path / "executed").exists()


def with_cls(cls: np.ndarray) -> dict[str, Any]:
    return google_arrays() | {"cls": cls}


@pytest.mark.parametrize(("arrays", "message"), [
    (with_cls(np.zeros((1, 1, 9), np.float32)), "cls has shape (1, 1, 9), not (1, 1, 8)"),
    (with_cls(np.zeros((1, 1, 8), np.int32)), "cls has type int32, not numbers with fractions"),
    (with_cls(np.full((1, 1, 8), np.nan)), "position_embedding/class_token: values that are not finite"),
    (with_cls(np.full((1, 1, 8), 1e300)), "position_embedding/class_token: values that are not finite"),
    (google_arrays() | {"embedding/kernel": np.float32(1)}, "embedding/kernel has shape (), which is not that of a pr"),
    (google_arrays() | {"pre_logits/kernel": np.zeros((8, 8))}, "this model has a layer between pooling and head"),
    (google_arrays() | {"Transformer/encoderblock_999999/x": np.zeros(1)}, "at most 1000 layers"),
])  # fmt: skip
def test_arrays_that_do_not_fit_get_one_message(
    arrays: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_arrays(tmp_path / "weights.npz", arrays)
    assert message in refused(capsys, "import", tmp_path / "weights.npz", "--run", tmp_path / "new")


@pytest.mark.parametrize(("change", "message"), [
    (lambda values: values["model"].update(heads="four"), "model.heads=four: expected a whole number"),
    (lambda values: values["model"].update(mlp_dim=13), "has shape"),
    (lambda values: values["classes"].update(mean=[0.5]), "mean and std: expected one number for each channel"),
    (lambda values: values.update(format=2), "written in format 2, but this version reads format 1"),
    (lambda values: values.pop("classes"), "classes is missing"),
])  # fmt: skip
def test_a_damaged_description_gets_one_message(
    change: Any, message: str, run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = export(run, tmp_path / "weights.npz", "--names", "google")
    values = json.loads(description_file(file).read_text(encoding="utf-8"))
    change(values)
    description_file(file).write_text(json.dumps(values), encoding="utf-8")
    capsys.readouterr()
    assert message in refused(capsys, "import", file, "--run", tmp_path / "new")


@pytest.mark.parametrize("names", ["own", "timm"])
def test_names_that_are_given_and_not_those_of_the_file_get_one_message(
    names: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_arrays(tmp_path / "weights.npz", google_arrays())
    told = refused(capsys, "import", tmp_path / "weights.npz", "--names", names, "--run", tmp_path / "new")
    assert f"so these are no weights of {NAMINGS[names].title}" in told


def test_a_pipe_and_what_is_larger_than_memory_are_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    assert "a device or a pipe" in refused(capsys, "import", tmp_path / "pipe.npz", "--run", tmp_path / "new")
    write_arrays(tmp_path / "weights.npz", google_arrays())
    monkeypatch.setattr(weights_files, "machine_memory", lambda: 1000)
    told = refused(capsys, "import", tmp_path / "weights.npz", "--run", tmp_path / "new")
    assert "and this machine has 1 kB of memory" in told


@pytest.mark.parametrize(("text", "message"), [
    ('{"image_mean": 3}', "preprocessor_config.json: image_mean: expected a list, got 3"),
    ("[]", "preprocessor_config.json: damaged"),
])  # fmt: skip
def test_a_damaged_preparation_of_transformers_gets_one_message(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_arrays(tmp_path / "model.npz", to_names(NAMINGS["huggingface"], CONFIG.model, random_params(CONFIG.model)))
    (tmp_path / "config.json").write_text('{"num_attention_heads": 4}')
    (tmp_path / "preprocessor_config.json").write_text(text)
    told = refused(capsys, "import", tmp_path, "--run", tmp_path / "new")
    assert told.startswith(f"error: {tmp_path}/{message}")


def test_a_mean_that_is_no_number_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["import", "x.npz", "--run", "new", "--mean", "0.5;0.4"])
    assert "argument --mean: 0.5;0.4: expected numbers with commas between them" in capsys.readouterr().err


def test_a_missing_safetensors_is_named_before_the_run_is_read(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    run.best.unlink()
    for to in ("x.safetensors", "folder"):
        assert refused(capsys, "export", run.path, tmp_path / to) == f"error: {INSTALL}\n"


def test_a_file_of_another_ending_is_no_folder(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "ends in .safetensors or .npz" in refused(capsys, "export", run.path, tmp_path / "x.pth")


def test_a_run_without_checkpoint_gets_one_message(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run.best.unlink()
    assert "best.npz: there is no such checkpoint" in refused(capsys, "export", run.path, tmp_path / "x.npz")
    assert not (tmp_path / "x.npz").exists()


def test_what_a_library_computes_otherwise_is_warned_of(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("safetensors")
    export(run, tmp_path / "x.safetensors", "--names", "torchvision")
    warning = "warning: torchvision computes gelu=erf, and here tanh: its logits differ a little\n"
    assert capsys.readouterr().err == warning


def test_the_model_hands_the_command_on(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda program, arguments: started.append([program, *arguments]))
    monkeypatch.setattr("sys.argv", ["model/weights/__main__.py", "export", "RUN", "x.npz"])
    runpy.run_module("model.weights", run_name="__main__")
    assert started == [[sys.executable, sys.executable, "-m", "training.weights", "export", "RUN", "x.npz"]]
