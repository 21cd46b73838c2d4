"""Several devices and several processes train as one does: the same losses, and the same parameters up to rounding."""

import json
import re
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from benchmarks.devices import exchanging
from common import files
from common.errors import ConfigError
from tests.tiny_runs import ROOT, start_python
from train import main
from training import checkpoint, hosts
from training.config import load_config
from training.devices import choose_devices
from training.hosts import LOST
from training.options import TrainConfig
from training.run_folder import RunFolder
from training.step_log import read_steps

STEPS = 30
RANDOM = (  # in batches of 16 of 2 microbatches. A bias of keys has no gradient, and AdamW would follow its rounding.
    "train.batch_size=16", "train.accumulate=2", "model.patch_size=16", "model.patch_dropout=0.3",
    "model.qkv_bias=false", "model.drop_path=0.1", "augment.mixup=0.8", "augment.cutmix=1", "augment.erasing=0.5",
    "optim.ema=0.9", "train.epochs=null", f"train.steps={STEPS}", "train.eval_batch_size=7",
)  # fmt: skip


def environment(monkeypatch: pytest.MonkeyPatch, devices: int, float64: bool) -> None:
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", str(devices))
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("JAX_ENABLE_X64", str(int(float64)))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def joins(port: int, number: int, processes: int) -> list[str]:
    return [f"train.distributed=127.0.0.1:{port},{number},{processes}"] if processes > 1 else []


class Runs:
    """Starts trainings in processes of their own, with the options of a tiny run and others."""

    def __init__(self, folder: Path, options: Sequence[str], programs: Path) -> None:
        self.folder, self.options, self.programs = folder, options, programs

    def start(self, name: str, *options: str, processes: int = 1, resume: bool = False) -> list[subprocess.Popen[str]]:
        command = [str(ROOT / "train.py"), *([] if resume else self.options), *options, "--brief", "--device", "cpu"]
        command += ["--resume" if resume else "--run", str(self.folder / name)]
        port = free_port()
        return [
            start_python(*command, *joins(port, number, processes), cache=self.programs, cwd=self.folder)
            for number in range(processes)
        ]

    def train(self, name: str, *options: str, processes: int = 1, resume: bool = False) -> RunFolder:
        started = self.start(name, *options, processes=processes, resume=resume)
        for number, process in enumerate(started):
            out, err = process.communicate(timeout=120)
            assert process.returncode == 0, f"{name}, process {number}: {out}{err}"
            assert number == 0 or not out
        return RunFolder(self.folder / name)


@pytest.fixture
def runs(tmp_path: Path, tiny: tuple[str, ...], programs: Path) -> Runs:
    """Runs with all that is random."""
    return Runs(tmp_path, (*tiny, *RANDOM), programs)


@pytest.fixture
def plain(tmp_path: Path, tiny: tuple[str, ...], programs: Path) -> Runs:
    """Runs that compile in less time, where how they end is asked and not what they compute."""
    return Runs(tmp_path, (*tiny, "augment.flip=false", "augment.crop_padding=0"), programs)


def assert_same(run: RunFolder, expected: RunFolder) -> None:
    """In float64: the losses of all steps, which are written in float32, and at the end parameters, optimizer state,
    average and accuracy."""
    rows, others = ([row for row, _ in read_steps(folder.steps_file)] for folder in (run, expected))
    assert len(rows) == len(others) == STEPS
    np.testing.assert_allclose([r.loss for r in rows], [r.loss for r in others], rtol=1e-7)
    arrays, wanted = (checkpoint.load(folder.last)[0] for folder in (run, expected))
    assert list(arrays) == list(wanted)
    for name, array in arrays.items():
        assert array.dtype == wanted[name].dtype
        scale = np.abs(wanted[name]).max() or 1.0
        np.testing.assert_allclose(array / scale, wanted[name] / scale, atol=1e-12, rtol=0, err_msg=name)
    last, other = (folder.read_metrics()[-1] for folder in (run, expected))
    assert (last.val_top1, last.ema_top1) == (other.val_top1, other.ema_top1)


@pytest.fixture
def alone(runs: Runs, shared: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """The run of a single device in float64. Not to be written to."""
    environment(monkeypatch, 1, True)
    with files.locked(shared / "alone.lock"):
        if not (shared / "alone" / "best.npz").exists():
            runs.train("alone").path.rename(shared / "alone")
    return RunFolder(shared / "alone")


def test_a_run_goes_on_with_another_number_of_devices(
    runs: Runs, alone: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four devices to step 15, which share the state of the optimizer, then two processes with two devices each: no
    different from one device throughout."""
    environment(monkeypatch, 4, True)
    runs.train("changing", "train.steps=15", "train.devices=4", "train.share_optimizer=true")
    environment(monkeypatch, 2, True)
    # An epoch has three steps: they are one program, where a rest would be another to compile.
    continued = (
        "train.devices=all", f"train.steps={STEPS}", "data.placement=device", "train.steps_per_dispatch=3",
        "train.checkpoint_every=3",
    )  # fmt: skip
    assert_same(runs.train("changing", *continued, processes=2, resume=True), alone)
    assert "distributed: null" in runs_config(runs, "changing")


def runs_config(runs: Runs, name: str) -> str:
    return (runs.folder / name / "config.yml").read_text()


def wait_for_step(run: Path, step: int, processes: list[subprocess.Popen[str]]) -> None:
    until = time.monotonic() + 100
    while not ((run / "steps.csv").exists() and len((run / "steps.csv").read_text().splitlines()) > step):
        assert time.monotonic() < until
        assert all(process.poll() is None for process in processes), [p.communicate() for p in processes]
        time.sleep(0.05)


LONG = ("train.epochs=null", "train.steps=100000", "train.checkpoint_every=5")


def test_all_processes_stop_after_the_same_step(plain: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch, 1, False)
    started = plain.start("stopped", *LONG, processes=2)
    wait_for_step(plain.folder / "stopped", 3, started)
    started[1].send_signal(signal.SIGTERM)
    (out, err), (nothing, _) = (process.communicate(timeout=60) for process in started)
    assert [process.returncode for process in started] == 2 * [128 + signal.SIGTERM], err
    assert nothing == ""
    step = int(re.search(r"stopped after step (\d+)", out)[1])
    assert checkpoint.load_meta(plain.folder / "stopped" / "last.npz")["progress"]["step"] == step


def test_a_process_that_dies_ends_the_others(plain: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch, 1, False)
    started = plain.start("died", *LONG, processes=2)
    wait_for_step(plain.folder / "died", 12, started)
    started[0].kill()  # to which the others are connected
    began = time.monotonic()
    _, err = started[1].communicate(timeout=90)
    started[0].communicate()
    assert time.monotonic() - began < LOST
    assert started[1].returncode != 0
    assert "another process has ended" in err or "another task died" in err
    assert checkpoint.load_meta(plain.folder / "died" / "last.npz")["progress"]["step"] >= 5


def test_processes_with_other_options_all_end(plain: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch, 1, False)
    port = free_port()
    command = [str(ROOT / "train.py"), *plain.options, "--brief", "--device", "cpu", "--run"]
    command.append(str(plain.folder / "wrong"))
    started = [
        start_python(*command, *joins(port, 0, 2), cache=plain.programs, cwd=plain.folder),
        start_python(*command, *joins(port, 1, 2), "data.holdout=0.25", cache=plain.programs, cwd=plain.folder),
    ]
    (_, leader), (_, other) = (process.communicate(timeout=90) for process in started)
    assert [process.returncode for process in started] == [2, 2]
    assert other.count("error: ") == 1
    assert "data.holdout=0.25, where process 0 has" in other
    assert leader.count("error: ") == 1
    assert "another process has other options" in leader
    assert not (plain.folder / "wrong").exists()


def test_processes_with_unequal_devices_all_end(plain: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    port, started = free_port(), []
    command = [str(ROOT / "train.py"), *plain.options, "--brief", "--device", "cpu", "train.devices=all"]
    for number, devices in enumerate((1, 2)):
        environment(monkeypatch, devices, False)
        started.append(start_python(*command, *joins(port, number, 2), cache=plain.programs, cwd=plain.folder))
    said = [process.communicate(timeout=90)[1] for process in started]
    assert [process.returncode for process in started] == [2, 2]
    assert all("the processes have 1, 2 devices, in their order; all need equally many" in err for err in said)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("localhost", "expected auto, or HOST:PORT,ID,COUNT"),
        ("localhost:99999,0,2", "expected auto, or HOST:PORT,ID,COUNT"),
        ("localhost:1234,2,2", "expected auto, or HOST:PORT,ID,COUNT"),
        ("localhost:{busy},0,2", "cannot listen at port {busy}"),
        ("no-such-host.invalid:1234,1,2", "process 0 does not answer at no-such-host.invalid:1234"),
    ],
)
def test_an_address_that_does_not_work_is_one_message(
    call: Any, monkeypatch: pytest.MonkeyPatch, where: str, message: str
) -> None:
    monkeypatch.setattr(hosts, "WAIT", 0.5)
    with socket.create_server(("", 0)) as server:
        busy = str(server.getsockname()[1])
        ended = call(main, "demo", f"train.distributed={where.replace('{busy}', busy)}")
    assert ended.code == 2
    assert ended.err.count("error: ") == 1
    assert message.replace("{busy}", busy) in ended.err


def test_processes_need_a_number_of_steps(call: Any) -> None:
    ended = call(main, "demo", "train.epochs=null", "train.minutes=1", "train.distributed=localhost:1234,0,2")
    assert ended.code == 2
    assert "give epochs or steps" in ended.err
    ended = call(main, "demo", "train.distributed=localhost:1234,0,2", "--sweep", "train.seed=0,1")
    assert ended.code == 2
    assert "train.distributed: a sweep" in ended.err


def options(**changes: Any) -> TrainConfig:
    return replace(load_config("demo").train, **changes)


def test_devices_that_there_are_not() -> None:
    message = "train.devices=2: JAX finds 1 cpu device here; choose at most 1, or set JAX_NUM_CPU_DEVICES=2"
    with pytest.raises(ConfigError, match=re.escape(message)):
        choose_devices(options(devices=2), jax.devices("cpu")[0], mixes=False)


def test_devices_that_there_are_not_are_refused_before_anything_is_made(call: Any, tiny: tuple[str, ...]) -> None:
    ended = call(main, *tiny, "train.devices=2", "--run", "new", "--device", "cpu")
    assert (ended.code, ended.err.count("error: ")) == (2, 1)
    assert not Path("new").exists()


@pytest.mark.parametrize(
    ("batch", "mixes", "message"),
    [
        (6, False, "train.batch_size=6 cannot be divided equally among 4 devices: choose a multiple of 4"),
        (12, True, "in pairs, which augment.mixup and augment.cutmix mix, among 4 devices: choose a multiple of 8"),
    ],
)
def test_batches_that_do_not_divide(monkeypatch: pytest.MonkeyPatch, batch: int, mixes: bool, message: str) -> None:
    first = jax.devices("cpu")[0]
    monkeypatch.setattr(jax, "local_devices", lambda **_: [first, *map(object.__new__, 3 * [object])])
    assert choose_devices(options(devices="all", batch_size=24), first, mixes).count == 4
    with pytest.raises(ConfigError, match=re.escape(message)):
        choose_devices(options(devices="all", batch_size=batch), first, mixes)


STEP = """
import json
import re
import jax, numpy as np
from dataclasses import replace
from data.augment import Augmentation
from model.loss import CrossEntropy
from model.mae import MAE
from model.masked_squared_error import MaskedSquaredError
from model.vit import ViT
from optim.adamw import AdamW
from optim.ema import EMA
from optim.muon import Muon
from training.config import load_config
from training.devices import choose_devices
from training.objective import Classification, MaskedReconstruction
from training.step import TrainingStep

everything = Augmentation(
    flip=True, crop_padding=2, resized_crop=0.3, policy="trivial_augment", mixup=0.8, cutmix=1.0
)
vit = ViT(
    16, 4, d_model=16, heads=2, layers=1, mlp_dim=32, num_classes=5, dropout=0.1, patch_dropout=0.3, qkv_bias=False
)
alone = TrainingStep(
    Classification(vit, CrossEntropy()), AdamW(1e-3), (0.5,) * 3, (0.5,) * 3, max_grad_norm=1.0, accumulate=2,
    ema=EMA(0.9),
)
rng = np.random.default_rng(0)
images, labels = rng.integers(0, 256, (32, 16, 16, 3), dtype=np.uint8), rng.integers(0, 5, 32)
train = replace(load_config("demo").train, devices="all", batch_size=32)


def on_devices(step, share=False):
    devices = choose_devices(replace(train, share_optimizer=share), jax.devices()[0], True)
    state = devices.put_state(step.init())
    program = jax.jit(devices.prepared(step), out_shardings=(devices.places(state), devices.everywhere))
    return devices, state, program, devices.divide((images, labels))
"""
THIRTY = """
step = replace(alone, augmentation=everything)
devices, state, program, batch = on_devices(step)
compiled = program.lower(state, *batch).compile()  # called itself, so that it is not compiled twice
text = compiled.as_text()
names = "all-reduce|all-gather|reduce-scatter|collective-permute|all-to-all"
found = re.findall(rf"= (.*?) ({names})(?:-start)?\\(", text)
whole, reference, apart = step.init(), jax.jit(step), []
for _ in range(30):
    state, metrics = compiled(state, *batch)
    whole, expected = reference(whole, images, labels)
    apart.append(abs(float(metrics.loss) / float(expected.loss) - 1))
_, state, program, batch = on_devices(replace(alone, freeze="backbone"))
text = program.lower(state, *batch).compile().as_text()
frozen = re.findall(rf"= (.*?) ({names})(?:-start)?\\(", text)
sizes = [sum(leaf.size for leaf in jax.tree.leaves(tree)) for tree in (state.params, state.params["head"])]
print(devices.count, *sizes, max(apart), *found, *frozen, sep="\\n")
"""
SHARED = """
hiding = MaskedReconstruction(MAE(replace(vit, patch_dropout=0.0), 0.5, 8, 2, 1, 16), MaskedSquaredError())
for name, objective, optimizer in (
    ("AdamW", alone.objective, AdamW(1e-3)),
    ("Muon", alone.objective, Muon(AdamW(1e-3))),
    ("autoencoder", hiding, Muon(AdamW(1e-3))),
):
    step = replace(alone, objective=objective, optimizer=optimizer, accumulate=1, ema=None)
    _, state, program, batch = on_devices(step, share=True)
    whole, reference = step.init(), jax.jit(step)
    for _ in range(5):
        state, metrics = program(state, *batch)
        whole, expected = reference(whole, images, labels)
    pairs = zip(map(np.asarray, jax.tree.leaves(state)), map(np.asarray, jax.tree.leaves(whole)), strict=True)
    apart = max(abs(a - b).max() / (abs(b).max() or 1.0) for a, b in pairs)  # by NumPy, which compiles nothing
    leaves = jax.tree.leaves(state.optimizer)
    here = sum(leaf.addressable_shards[0].data.nbytes for leaf in leaves)
    print(name, apart, here / sum(leaf.nbytes for leaf in leaves))
"""


def test_thirty_steps_on_eight_devices_are_those_on_one_and_exchange_nothing_but_the_gradients(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In float32, with all that is random, clipping and an average. (In float64: the runs above.) Read off the compiled
    program: one all-reduce, of the loss and all gradients as one vector."""
    environment(monkeypatch, 8, False)
    process = start_python("-c", STEP + THIRTY, cache=tmp_path, cwd=tmp_path)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    count, parameters, head, apart, *found = out.splitlines()
    assert count == "8"
    assert float(apart) < 1e-5
    assert len(found) == 2, found
    for exchange, size in zip(found, (parameters, head), strict=True):  # with a frozen backbone, of the head alone
        assert "all-reduce" in exchange
        assert f"f32[{int(size) + 1}]" in exchange


def test_devices_that_share_the_state_of_the_optimizer_update_as_one_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And each keeps its share: an eighth, but for the few arrays that cannot be divided."""
    environment(monkeypatch, 8, True)
    process = start_python("-c", STEP + SHARED, cache=tmp_path, cwd=tmp_path)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    found = {name: (float(apart), float(here)) for name, apart, here in map(str.split, out.splitlines())}
    assert set(found) == {"AdamW", "Muon", "autoencoder"}
    for name, (apart, here) in found.items():
        assert apart < 1e-12, name
        assert here < 0.2, name


def test_processes_and_devices_share_an_exhaustive_check(
    tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes with two devices each find what one device finds, and process 0 alone says and writes it."""
    sizes = ("image_size=8", "patch_size=4", "d_model=8", "heads=2", "layers=1", "mlp_dim=12", "num_classes=5")
    command = [str(ROOT / "gradcheck.py"), "baseline", *(f"model.{size}" for size in sizes), "--exhaustive"]
    command += ["--device", "cpu", "--only", "attention"]

    def check(name: str, *options: str) -> subprocess.Popen[str]:
        files = ("--json", str(tmp_path / f"{name}.json"), "--state", str(tmp_path / f"{name}.state"))
        return start_python(*command, *options, *files, cache=programs, cwd=tmp_path)

    environment(monkeypatch, 1, False)
    started = [check("alone")]
    environment(monkeypatch, 2, False)
    where = [f"127.0.0.1:{port},{number},2" for port in [free_port()] for number in (0, 1)]
    started += [check(name, "--devices", "all", "--distributed", at) for name, at in zip("01", where, strict=True)]
    said = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], said
    assert said[2] == ("", "")
    assert not (tmp_path / "1.json").exists()
    alone, shared = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("alone", "0"))
    assert shared["coverage"] == alone["coverage"]
    found = [[t["methods"][0] for case in report["cases"] for t in case["tensors"]] for report in (alone, shared)]
    assert [method["verdict"] for method in found[0]] == [method["verdict"] for method in found[1]]
    worst = [[method["worst"] for method in methods if method["worst"] is not None] for methods in found]
    np.testing.assert_allclose(*worst, atol=1e-13)
    assert worst[0]


def test_the_model_of_an_exchange_by_hand() -> None:
    """Four devices, 12 GB over 3 GB/s with a latency of 1 s: six pieces of 3 GB, each 1 s + 1 s."""
    assert exchanging(4, 12e9, 3.0, 1e6) == pytest.approx(12.0)
    assert exchanging(1, 12e9, 3.0, 1e6) == 0
