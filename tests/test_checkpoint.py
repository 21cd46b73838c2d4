"""A checkpoint comes back bit for bit, is replaced whole or not at all, and never passes for another model's."""

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.errors import CheckpointError
from training import checkpoint

ROOT = Path(__file__).resolve().parent.parent
META = {"step": 3, "best": None, "note": "ä", "history": [0.1, 2]}


class Moments(NamedTuple):
    step: Any
    m: Any


def make_tree() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    weights = {"W": jnp.asarray(rng.normal(size=(3, 4)), jnp.float32), "b": jnp.zeros(4, jnp.float32)}
    moments = Moments(jnp.asarray(7, jnp.int32), {"attention": weights, "empty": {}})
    return {
        "params": {"attention": weights, "gelu": {}},
        "optimizer": moments,
        "seen": (np.arange(3, dtype=np.int32), np.bool_(True)),
    }


def assert_same(tree: Any, other: Any) -> None:
    assert jax.tree.structure(tree) == jax.tree.structure(other)
    for leaf, other_leaf in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True):
        assert (leaf.dtype, leaf.shape) == (other_leaf.dtype, other_leaf.shape)
        assert np.asarray(leaf).tobytes() == np.asarray(other_leaf).tobytes()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "last.npz"
    checkpoint.save(path, make_tree(), META)
    return path


def refusal(path: Path, template: Any = None, part: str = "") -> str:
    with pytest.raises(CheckpointError) as caught:
        checkpoint.restore(path, make_tree() if template is None else template, part)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


# What is saved comes back.


def test_round_trip(saved: Path) -> None:
    tree, meta = checkpoint.restore(saved, make_tree())
    assert_same(tree, make_tree())
    assert meta == META


def test_restores_into_shapes_alone(saved: Path) -> None:
    tree, _ = checkpoint.restore(saved, jax.eval_shape(make_tree))
    assert_same(tree, make_tree())


def test_restores_one_branch(saved: Path) -> None:
    params, meta = checkpoint.restore(saved, make_tree()["params"], part="params")
    assert_same(params, make_tree()["params"])
    assert meta == META


def test_load_names_arrays_by_their_place(saved: Path) -> None:
    arrays, meta = checkpoint.load(saved)
    assert sorted(arrays) == [
        "optimizer/m/attention/W", "optimizer/m/attention/b", "optimizer/step",
        "params/attention/W", "params/attention/b", "seen/0", "seen/1",
    ]  # fmt: skip
    assert meta == META
    np.testing.assert_array_equal(arrays["params/attention/W"], make_tree()["params"]["attention"]["W"])


def test_numpy_opens_it_as_well(saved: Path) -> None:
    with np.load(saved, allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["params/attention/W"], make_tree()["params"]["attention"]["W"])


def test_not_a_number_survives_in_arrays(tmp_path: Path) -> None:
    tree = {"x": np.array([np.nan, np.inf, -0.0])}
    checkpoint.save(tmp_path / "a.npz", tree, {})
    assert_same(checkpoint.restore(tmp_path / "a.npz", tree)[0], tree)


def test_the_same_tree_makes_the_same_bytes(saved: Path) -> None:
    first = saved.read_bytes()
    checkpoint.save(saved, make_tree(), META)
    assert saved.read_bytes() == first
    with zipfile.ZipFile(saved) as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}  # in place of the time


def test_leaves_nothing_beside_it(saved: Path) -> None:
    assert list(saved.parent.iterdir()) == [saved]


# What cannot be saved is refused before the old file is touched.


@pytest.mark.parametrize(
    ("tree", "meta", "error"),
    [
        ({"x": np.array(["a"])}, {}, TypeError),
        ({"x": np.array([None])}, {}, TypeError),
        ({"x": jnp.ones(2, jnp.bfloat16)}, {}, TypeError),
        ({"a/b": np.ones(1), "a": {"b": np.ones(1)}}, {}, ValueError),
        ({}, {"loss": float("nan")}, ValueError),
        ({}, {"loss": float("inf")}, ValueError),
        ({}, {"loss": np.float32(1)}, TypeError),
    ],
)
def test_refuses_to_save(saved: Path, tree: Any, meta: dict[str, Any], error: type[Exception]) -> None:
    before = saved.read_bytes()
    with pytest.raises(error):
        checkpoint.save(saved, tree, meta)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


# A failing write.


@pytest.mark.parametrize("room", [100, 40_000, 80_500])
def test_full_disk_keeps_the_old_file(saved: Path, room: int) -> None:
    """Writes that really fail, at three places of a file of 80,621 bytes: a limit on file sizes for a full disk."""
    before = saved.read_bytes()
    program = f"""
        import resource, signal
        import numpy as np
        from training import checkpoint
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that write() fails in place of killing us
        resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))
        try:
            checkpoint.save({str(saved)!r}, {{"x": np.ones(5000), "y": np.ones(5000)}}, {{}})
        except OSError as error:
            print(type(error).__name__, error.errno, error.filename)
    """
    result = run_python(program)
    assert result.stdout.split(" ", 1)[1] == f"27 {saved}\n"  # EFBIG
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def run_python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )


def test_interruption_keeps_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, write = saved.read_bytes(), np.lib.format.write_array

    def interrupted(file: Any, array: Any, **options: Any) -> None:
        write(file, array, **options)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(np.lib.format, "write_array", interrupted)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(saved, make_tree(), META)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_a_leftover_of_a_killed_process_is_removed(saved: Path) -> None:
    (saved.parent / ".last.npz.partial-a1b2c3d4").write_bytes(b"half of a checkpoint" * 1000)
    checkpoint.save(saved, make_tree(), META)
    assert_same(checkpoint.restore(saved, make_tree())[0], make_tree())
    assert list(saved.parent.iterdir()) == [saved]


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        checkpoint.save(tmp_path / "none" / "a.npz", {}, {})
    assert caught.value.filename == str(tmp_path / "none" / "a.npz")


def test_bytes_are_on_the_disk_before_the_name(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a power cut could leave the new name on a file without content."""
    events: list[str] = []
    fsync, replace = os.fsync, os.replace

    def record_fsync(descriptor: int) -> None:
        events.append("fsync folder" if os.path.isdir(f"/dev/fd/{descriptor}/") else "fsync file")
        fsync(descriptor)

    def record_replace(source: Any, target: Any) -> None:
        events.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    checkpoint.save(saved, make_tree(), META)
    assert events == ["fsync file", "replace", "fsync folder"]


# A damaged file.


def test_every_flipped_byte_is_noticed_or_harmless(tmp_path: Path) -> None:
    path, tree = tmp_path / "a.npz", {"a": {"W": np.arange(6.0).reshape(2, 3)}, "b": np.int32(3)}
    checkpoint.save(path, tree, META)
    content, refused = path.read_bytes(), 0
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            restored, meta = checkpoint.restore(path, tree)
        except CheckpointError:
            refused += 1
        else:
            assert_same(restored, tree)
            assert meta == META
    assert refused > len(content) // 2


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    path, tree = tmp_path / "a.npz", {"x": np.arange(3.0)}
    checkpoint.save(path, tree, META)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert "damaged or cut short" in refusal(path, tree)


def test_no_such_file(tmp_path: Path) -> None:
    assert refusal(tmp_path / "a.npz") == "there is no such checkpoint; check the path, or train first"
    with pytest.raises(CheckpointError, match="a folder, where a checkpoint"):
        checkpoint.load(tmp_path)


def test_no_zip_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_text("hello " * 100)
    assert refusal(tmp_path / "a.npz").startswith("damaged or cut short (File is not a zip file); use another")


def test_an_npz_of_another_program(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones(3))
    assert refusal(tmp_path / "a.npz") == "not a checkpoint of this program: it has no checkpoint.json"


def rewrite(path: Path, name: str, content: bytes) -> None:
    """The same archive with one member replaced."""
    with zipfile.ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    members[name] = content
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (b'{"format": 2, "meta": {}}', "written in format 2, but this version reads format 1"),
        (b'{"meta": {}}', "written in format None"),
        (b"[1]", "written in format None"),
        (b'{"format": 1, "meta": 3}', "checkpoint.json has no meta"),
        (b'{"format": 1', "damaged or cut short"),
    ],
)
def test_headers_that_cannot_be_used(saved: Path, header: bytes, told: str) -> None:
    rewrite(saved, "checkpoint.json", header)
    assert told in refusal(saved)


class Bomb:
    def __reduce__(self) -> Any:
        return (os.mkdir, ("exploded",))


def test_a_pickle_is_refused_and_does_not_run(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(saved.parent)
    header = np.array([1.0], object)
    with open("object.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(header))
        file.write(pickle.dumps(Bomb()))
    rewrite(saved, "params/attention/W.npy", Path("object.npy").read_bytes())
    assert refusal(saved).startswith("params/attention/W is a pickled object, which could run code")
    assert not Path("exploded").exists()


# A checkpoint of another model.


def test_missing_and_extra_tensors_are_named(saved: Path) -> None:
    template = make_tree()
    template["params"]["head"] = {key: np.ones(1) for key in "abcde"}
    del template["seen"]
    assert refusal(saved, template) == (
        "of another model: it lacks params/head/a, params/head/b, params/head/c, and 2 more; "
        "it also has seen/0, seen/1. Use the model configuration that it was trained with"
    )


def test_an_extra_tensor_alone_is_refused(saved: Path) -> None:
    template = make_tree()
    del template["params"]["attention"]["b"]
    assert "it also has optimizer/m/attention/b, params/attention/b" in refusal(saved, template)


def test_a_branch_that_is_not_there(saved: Path) -> None:
    assert "it lacks average/attention/W" in refusal(saved, make_tree()["params"], part="average")


def test_another_shape(saved: Path) -> None:
    template = make_tree()
    template["params"]["attention"] = {"W": np.ones((4, 3), np.float32), "b": jnp.zeros(4, jnp.float32)}
    message = refusal(saved, template)
    assert "params/attention/W has shape (3, 4), but the configured model wants (4, 3)" in message
    assert "Use the model configuration that it was trained with" in message


def test_another_type(saved: Path) -> None:
    template = make_tree()
    template["params"]["attention"] = {"W": np.ones((3, 4), np.float64), "b": jnp.zeros(4, jnp.float32)}
    assert "params/attention/W has type float32, but the configured model wants float64" in refusal(saved, template)
