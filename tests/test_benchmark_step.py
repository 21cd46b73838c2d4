"""The benchmark of the step: the count of operations, that all contestants are the same model, and the table."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from benchmarks import step as command
from benchmarks.contestants import CONTESTANTS, conventional, own
from benchmarks.contestants.from_config import SUPPORTED, draw_params, problem_from_config
from benchmarks.contestants.operations import forward_operations, step_operations
from benchmarks.contestants.problem import ARCHITECTURE, Params, Problem, load_params, save_params
from benchmarks.contestants.report import floor_lines, table
from benchmarks.contestants.workers import Outcome, largest_difference, measure
from model.loss import CrossEntropy
from model.vit import ViT
from tests.oracle import assert_close
from tests.tiny_runs import ROOT
from training.config import load_config

TINY = (
    "model.image_size=[8,12]", "model.patch_size=4", "model.d_model=8", "model.heads=2", "model.layers=2",
    "model.mlp_dim=20", "model.num_classes=5", "train.batch_size=16", "optim.weight_decay=0.1",
    "optim.learning_rate=1.0e-3",
)  # fmt: skip
PROBLEM = problem_from_config(load_config("baseline", list(TINY)), "cpu", "float32")
BASELINE = problem_from_config(load_config("baseline", []), "cpu", "float32")


# Operations


def product_operations(jaxpr: Any) -> int:
    """Operations of the matrix products of a traced function, read off the program itself."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (inner, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            summed = np.prod([left[axis] for axis in inner], dtype=int)
            total += 2 * int(np.prod(equation.outvars[0].aval.shape, dtype=int) * summed)
        total += sum(product_operations(inner) for inner in jaxprs_in_params(equation.params))
    return total


def loss_of_the_class_token(params: Params, images: jax.Array, labels: jax.Array, problem: Problem) -> jax.Array:
    """The conventional model, whose last block computes what the class token needs and no more."""
    D, H = problem.d_model, problem.heads
    *blocks, last = params["blocks"]
    x = conventional.embed(params, images, problem, images.dtype)
    for block in blocks:
        x = conventional.encoder_block(block, x, problem, x.dtype)
    layer_norm = conventional.layer_norm
    normed = layer_norm(last["norm1"], x, problem.norm_eps)
    W, b = last["attention"]["qkv"]["kernel"], last["attention"]["qkv"]["bias"]
    B, N, _ = x.shape
    q = (normed[:, 0] @ W[:, :D] + b[:D]).reshape(B, H, 1, D // H)
    kv = (normed @ W[:, D:] + b[D:]).reshape(B, N, 2, H, D // H)
    k, v = kv.transpose(2, 0, 3, 1, 4)
    weights = jax.nn.softmax(q @ k.swapaxes(-1, -2) / np.sqrt(D // H))
    token = x[:, 0] + conventional.dense(last["attention"]["out"], (weights @ v).reshape(B, D), x.dtype)
    normed = layer_norm(last["norm2"], token, problem.norm_eps)
    hidden = jax.nn.gelu(conventional.dense(last["expand"], normed, x.dtype))
    token = token + conventional.dense(last["project"], hidden, x.dtype)
    logits = conventional.dense(params["head"], layer_norm(params["norm"], token, problem.norm_eps), x.dtype)
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=-1).mean()


@pytest.mark.parametrize("problem", [PROBLEM, replace(PROBLEM, layers=1), BASELINE], ids=["tiny", "one", "baseline"])
@pytest.mark.parametrize("whole", [True, False])
def test_operations_are_those_of_the_program(problem: Problem, whole: bool) -> None:
    """The products in the traced forward and in its derivative, counted one by one."""
    loss = conventional.loss_of if whole else loss_of_the_class_token
    params = conventional.from_engine(draw_params(problem), problem)
    images, labels = problem.inputs()
    forward = jax.make_jaxpr(lambda params: loss(params, images, labels, problem))(params)
    both = jax.make_jaxpr(jax.value_and_grad(lambda params: loss(params, images, labels, problem)))(params)
    assert product_operations(forward.jaxpr) == forward_operations(problem, whole)
    assert product_operations(both.jaxpr) == step_operations(problem, whole)


def test_a_class_token_alone_is_the_same_loss() -> None:
    """What the count above is taken from computes the loss of the model."""
    params = jax.tree.map(jnp.asarray, conventional.from_engine(draw_params(PROBLEM), PROBLEM))
    images, labels = PROBLEM.inputs()
    alone = loss_of_the_class_token(params, images, labels, PROBLEM)
    assert float(alone) == pytest.approx(float(conventional.loss_of(params, images, labels, PROBLEM)), rel=1e-5)


# The same model


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("gelu", ["tanh", "erf"])
def test_the_conventional_model_is_this_one(gelu: str) -> None:
    """Loss and every gradient, in float64 but for the softmax, which jax.nn.dot_product_attention does in float32."""
    problem = replace(PROBLEM, gelu=gelu)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), draw_params(problem))
    images, labels = problem.inputs()
    images = images.astype(float)
    vit, cross_entropy = own.own_model(problem), CrossEntropy()

    @jax.jit
    def both(params: Params) -> tuple[Any, ...]:
        logits, cache = vit.forward(params, images)
        loss, loss_cache = cross_entropy.forward(logits, labels)
        _, grads = vit.backward(params, cache, cross_entropy.backward(loss_cache))
        theirs = conventional.from_engine(params, problem)
        return loss, grads, *jax.value_and_grad(conventional.loss_of)(theirs, images, labels, problem)

    loss, grads, their_loss, their_grads = both(params)
    assert float(their_loss) == pytest.approx(float(loss), rel=1e-8)
    ours = conventional.from_engine(grads, problem)
    # A key's bias adds the same to all scores of a row: its gradient is zero, and what is left of it is rounding.
    for block in [*ours["blocks"], *their_grads["blocks"]]:
        bias = block["attention"]["qkv"]["bias"]
        D = problem.d_model
        assert abs(bias[D : 2 * D]).max() < 1e-7
        block["attention"]["qkv"]["bias"] = bias.at[D : 2 * D].set(0)
    assert_close(their_grads, ours, 1e-6)


def first_losses(build: Callable[..., Any], name: str, steps: int = 4) -> list[float]:
    params = own.named_params(CONTESTANTS[name].names, PROBLEM, draw_params(PROBLEM))
    contestant = build(name, PROBLEM, params)
    losses = [float(contestant.step()) for _ in range(steps)]
    contestant.forward()
    return losses


@pytest.fixture(scope="module")
def engine_losses() -> list[float]:
    losses = first_losses(own.build, "engine")
    assert losses[-1] < losses[0]
    return losses


@pytest.mark.parametrize("name", ["autodiff", "autodiff-chunked"])
def test_autodiff_steps_like_the_engine(name: str, engine_losses: list[float]) -> None:
    assert first_losses(own.build, name) == pytest.approx(engine_losses, rel=1e-5)


def test_the_conventional_step_is_the_engines(engine_losses: list[float]) -> None:
    pytest.importorskip("optax")
    assert first_losses(conventional.build, "conventional") == pytest.approx(engine_losses, rel=1e-5)


def test_flax_steps_like_the_engine(engine_losses: list[float]) -> None:
    pytest.importorskip("flax")
    from benchmarks.contestants import flax_nnx

    assert first_losses(flax_nnx.build, "flax-nnx") == pytest.approx(engine_losses, rel=1e-5)


def test_pytorch_steps_like_the_engine(engine_losses: list[float]) -> None:
    pytest.importorskip("torch")
    from benchmarks.contestants import pytorch

    assert first_losses(pytorch.build, "torch-eager") == pytest.approx(engine_losses, rel=1e-5)


def test_parameters_survive_the_file(tmp_path: Path) -> None:
    params = draw_params(PROBLEM)
    save_params(tmp_path / "params.npz", params)
    assert_close(load_params(tmp_path / "params.npz"), params, 0)


def test_no_parameter_is_zero_at_the_start() -> None:
    """A zero would be the same in the wrong place."""
    assert all(np.abs(leaf).min() > 0 for leaf in jax.tree.leaves(draw_params(PROBLEM)))


# The command


def test_the_table(call: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("optax")
    arguments = ("--only", "engine,autodiff,conventional", "--rounds", "1", "--json", tmp_path / "out.json")
    ended = call(command.main, "baseline", *TINY, *arguments)
    assert ended.code == 0, ended.out + ended.err
    lines = ended.out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("contestant"))
    rows = [line.split() for line in lines[start + 1 : start + 4]]
    assert [row[0] for row in rows] == ["engine", "autodiff", "conventional"]
    assert rows[0][5] == "1.00"
    assert all(float(row[1]) > 0 and float(row[7]) > 0 and float(row[10]) > 0 for row in rows)
    report = json.loads((tmp_path / "out.json").read_text())
    assert [outcome["name"] for outcome in report["outcomes"]] == ["matmul", "engine", "autodiff", "conventional"]
    assert [len(outcome["steps"]) for outcome in report["outcomes"]] == [0, 1, 1, 1]
    assert Problem.from_json(report["problem"]) == PROBLEM


def test_a_missing_framework_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that cannot be imported stands in for one that is not installed."""
    for package in ("torch", "flax", "optax"):
        (tmp_path / f"{package}.py").write_text(f"raise ModuleNotFoundError('none', name='{package}')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    names = ["conventional", "flax-nnx", "torch-eager"]
    outcomes = measure(PROBLEM, draw_params(PROBLEM), names, rounds=1, warmup=1)
    assert table(PROBLEM, outcomes)[1:] == [
        "conventional: optax is not installed",
        "flax-nnx: optax is not installed",
        "torch-eager: torch is not installed",
    ]
    assert not any(outcome.failed for outcome in outcomes)


def test_a_contestant_that_breaks_is_told_and_fails_the_command(
    call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "draw_params", lambda problem: {})
    ended = call(command.main, "baseline", *TINY, "--only", "engine", "--rounds", "1")
    assert ended.code == command.FAILED
    assert "engine: ended with code 1: KeyError: " in ended.out


def test_in_half_precision_all_compute_the_same_within_its_rounding() -> None:
    problem = replace(PROBLEM, dtype="bfloat16")
    engine, usual = measure(problem, draw_params(problem), ["engine", "conventional"], 1, 3)
    exact = measure(PROBLEM, draw_params(PROBLEM), ["engine"], 1, 3)[0]
    assert engine.losses != exact.losses
    for outcome in (usual, exact):
        np.testing.assert_allclose(outcome.losses, engine.losses, rtol=command.TOLERANCE["bfloat16"])


def test_losses_that_differ_fail_the_command(call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Outcome("engine", losses=[2.0, 1.0], steps=[0.1], forwards=[0.1])
    other = Outcome("autodiff", losses=[2.0, 1.001], steps=[0.2], forwards=[0.1])
    monkeypatch.setattr(command, "measure", lambda *_: [other, engine])
    ended = call(command.main, "baseline", *TINY, "--rounds", "1")
    assert ended.code == command.FAILED
    assert "1.0e-03   NOT THE SAME COMPUTATION" in ended.out
    other.losses[1] = float("nan")
    assert call(command.main, "baseline", *TINY, "--rounds", "1").code == command.FAILED
    other.losses[1] = 1.00001
    assert call(command.main, "baseline", *TINY, "--rounds", "1").code == 0
    assert largest_difference([other, engine])["autodiff"] == pytest.approx(1e-5)


def test_ratio_and_floor() -> None:
    """By hand: the products run at 1 GFLOP/s at their faster size."""
    sizes = ("float32 1000x1000x500", "bfloat16 1000x1000x500", "float32 10x10x10")
    products = Outcome("matmul", products=dict(zip(sizes, ([1.0, 2.0, 1.0], [0.5], [1.0]), strict=True)))
    floor = step_operations(PROBLEM) / 1e9
    engine = Outcome("engine", steps=[2 * floor, 2 * floor, 9 * floor], forwards=[4.0])
    other = Outcome("autodiff", steps=[4 * floor], forwards=[8.0], temp_bytes=3 * 2**20, compile_seconds=1.25)
    lines = table(PROBLEM, [products, engine, other])
    ours, theirs = lines[1].split(), lines[2].split()
    assert (ours[5], ours[6], ours[11]) == ("1.00", "2.00", "4")
    assert (theirs[5], theirs[6], theirs[7], theirs[8], theirs[11]) == ("0.50", "4.00", "1.2", "3", "2")
    first, second, *_, last = floor_lines(PROBLEM, [products])
    assert first == "product 1000x1000x500 in float32: 1 GFLOP/s"
    assert second == "product 1000x1000x500 in bfloat16: 2 GFLOP/s"
    assert last == f"floor of a step: {floor:.3f} s in float32, {floor / 2:.3f} s in bfloat16"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "engine,tensorflow"], "--only tensorflow: there is no such contestant"),
        (["--rounds", "0"], "--rounds 0: must be at least 1"),
        (["optim.max_grad_norm=1.0"], "compare with optim.max_grad_norm=null"),
        (["model.pooling=mean", "augment.flip=true"], "compare with model.pooling=class_token augment.flip=false"),
    ],
)
def test_bad_arguments(call: Callable[..., Any], arguments: list[str], message: str) -> None:
    overrides = [argument for argument in arguments if "=" in argument]
    ended = call(command.main, "baseline", *overrides, *(a for a in arguments if a not in overrides))
    assert ended.code == 2
    assert message in ended.err


def test_scaling_changes_one_thing_at_a_time(call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = [case.tokens for name, case in command.cases(BASELINE) if name.startswith("patch")]
    assert tokens == [65, 257, 1025]
    outcomes = [Outcome("engine", losses=[1.0], steps=[0.16]), Outcome("conventional", losses=[1.0], steps=[0.32])]
    monkeypatch.setattr(command, "cases", lambda problem: [("tiny", problem)])
    monkeypatch.setattr(command, "measure", lambda *_: outcomes)
    ended = call(command.main, "baseline", *TINY, "--scaling", "--rounds", "1")
    assert ended.code == 0, ended.out + ended.err
    tiny = ended.out.splitlines()[-1].split()
    assert tiny == ["tiny", "7", "16", "0.00", "10.00", "0", "20.00", "0", "0.50"]
    outcomes[1].losses = [1.1]
    assert call(command.main, "baseline", *TINY, "--scaling", "--rounds", "1").code == command.FAILED


def test_a_worker_imports_no_jax_for_pytorch() -> None:
    """Its memory is to be PyTorch's alone."""
    code = "import sys, benchmarks.contestants.__main__; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_every_option_of_the_model_is_shared_or_refused() -> None:
    """An option that only the engine has would make the contestants train different models."""
    known = {*ARCHITECTURE, *SUPPORTED["model"], "eps"}  # eps is `norm_eps` of a Problem
    # Start values are drawn once for all; a rule for a rate of 0; padding changes the speed of the engine alone.
    same_function = {"head_weights", "drop_path_rule", "pad_to_multiple_of"}
    assert {field.name for field in fields(ViT)} == known | same_function
