"""A compiled program against its operations one by one: rounding passes, and what is miscompiled is named."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import Primitive
from jax.interpreters import mlir

import gradcheck
from benchmarks.backend import squared_lengths
from checks.compiled import LOOP, MOST_IMAGES, PARTS, QUICK_IMAGES, Piece, compiled_result, microbatch, pieces
from checks.page import Report, to_html, to_json
from checks.report import findings
from tests.tiny_runs import ROOT
from training.config import load_config
from verify.by_numpy import apply, rounded
from verify.compiled import compare, compare_regions, locate
from verify.flat import Operation, flatten, read
from verify.results import PASS, WRONG, wrapped

SMALL = (
    "model.image_size=8", "model.patch_size=4", "model.d_model=8", "model.heads=2", "model.layers=1", "model.mlp_dim=6",
    "model.num_classes=3", "train.batch_size=8",
)  # fmt: skip
X = np.linspace(-2, 2, 24, dtype=np.float32).reshape(4, 6)
W = np.cos(np.arange(30, dtype=np.float32)).reshape(6, 5)


def many(x, key):
    """One of (almost) every operation that a training step consists of."""
    y = jnp.tanh(x @ W) + jax.nn.softmax(x, axis=-1)[:, :5] * jnp.sqrt(jnp.abs(x[:, 1:]))
    y = jnp.where(y > 0, y, jnp.pad(y[:2], ((1, 1), (0, 0)))) / (1 + jnp.exp(-y)) + jax.random.normal(key, y.shape)
    y, carried = jax.lax.scan(lambda total, row: (total + row, total * row), jnp.zeros(5), y)[::-1]
    y = jax.lax.cond(y.sum() > 0, jnp.sin, jnp.cos, y) ** 3 + jnp.clip(carried, -1, 1)
    y = jax.lax.while_loop(lambda z: jnp.max(z) > 1, lambda z: z / 2, y)
    half = (y.astype(jnp.bfloat16) @ W[:5].astype(jnp.bfloat16)).astype(jnp.float32)
    order = jnp.argsort(y[0])
    return {"y": y[:, order].mean(0), "half": half, "top": jax.lax.top_k(y, 2), "most": jnp.argmax(y, 1), "key": key}


def test_what_only_rounds_differently_passes() -> None:
    rows = compare(many, X, jax.random.key(3))
    assert [row.name for row in rows if row.differs] == []
    assert {row.name: row.dtype for row in rows}["key"] == "key<fry>"
    assert list(compare_regions(many, X, jax.random.key(3), size=9)) == []


def test_operations_by_numpy_are_those_of_jax() -> None:
    found = flatten(jax.make_jaxpr(many)(X, jax.random.key(3))).evaluate([X, jax.random.key(3)], apply)
    with jax.disable_jit():
        expected = jax.tree.leaves(many(X, jax.random.key(3)))
    for a, b in zip(found, expected, strict=True):
        if jnp.issubdtype(b.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_allclose(np.asarray(a, np.float64), np.asarray(b, np.float64), atol=2e-2, rtol=1e-5)
        assert a.dtype == b.dtype


# Planted miscompilations.

wrong_in_compiled = Primitive("scaled")  # right when it is run by itself, wrong in any compiled program
wrong_in_compiled.def_abstract_eval(lambda x: x)
wrong_in_compiled.def_impl(lambda x: np.asarray(x) * np.float32(2))
mlir.register_lowering(wrong_in_compiled, mlir.lower_fun(lambda x: x * 2.001, multiple_results=False))


def with_scaled(x):
    y = jnp.exp(x) - 1
    z = wrong_in_compiled.bind(y)
    return jnp.sum(z * z, axis=0)


def test_an_operation_that_is_compiled_wrongly_is_named_with_its_place() -> None:
    assert compare(with_scaled, X)[0].differs
    culprit = locate(with_scaled, X)
    assert culprit is not None
    line = with_scaled.__code__.co_firstlineno + 2
    assert (culprit.operation, culprit.together) == ("scaled", ())
    assert culprit.place == f"tests/test_compiled.py:{line}, with_scaled"
    assert "rounding allows" in str(culprit)
    assert [c.operation for c in compare_regions(with_scaled, X, size=2)] == ["scaled"]


def substitute_compiler(*chain: str, size: float = 1e-2) -> Callable[..., Any]:
    """A compiler that gets the last number of the last operation of `chain` wrong, by a share of `size`, where these
    operations follow each other."""

    def compiler(f: Callable[..., Any]) -> Callable[..., Any]:
        def compiled(*args: Any) -> Any:
            closed, shape = jax.make_jaxpr(f, return_shape=True)(*args)
            flat = flatten(closed)
            makers: dict[int, Operation] = {v: o for o in flat.operations for v in o.outputs}

            def follows(operation: Operation, names: tuple[str, ...]) -> bool:
                if operation.name != names[-1]:
                    return False
                before = [makers[v] for v in operation.inputs if isinstance(v, int) and v in makers]
                return len(names) == 1 or any(follows(o, names[:-1]) for o in before)

            values = flat.start(jax.tree.leaves(args))
            for i, operation in enumerate(flat.operations):
                flat.run(values, apply, i, i + 1)
                if follows(operation, chain):
                    x = np.array(values[operation.outputs[0]])
                    x.reshape(-1)[-1] *= np.asarray(1 + size, x.dtype)
                    values[operation.outputs[0]] = x
            return jax.tree.unflatten(jax.tree.structure(shape), read(flat.outputs, values))

        return compiled

    return compiler


def test_operations_that_are_wrong_only_together_are_named_together() -> None:
    compiler = substitute_compiler("dot_general", "integer_pow", "reduce_sum")
    args = (X[:, :3], np.eye(3, dtype=np.float32))
    assert compare(squared_lengths, *args, jit=compiler)[0].differs
    culprit = locate(squared_lengths, *args, jit=compiler)
    assert culprit is not None
    assert (culprit.operation, culprit.together) == ("reduce_sum", ("dot_general", "integer_pow"))
    assert culprit.place.startswith("benchmarks/backend.py:")
    assert culprit.comparison.where == (3,)
    assert not compare(lambda x: jnp.sum(x**2, axis=1), X, jit=compiler)[0].differs, "nor alone"


def test_a_long_program_is_searched_for_the_operation() -> None:
    def f(x):
        for i in range(40):
            x = jnp.sin(x) if i == 23 else x * 1.01 + 0.1
        return x

    culprit = locate(f, X, jit=substitute_compiler("mul", "add", "sin"))
    assert culprit is not None
    assert (culprit.operation, culprit.together) == ("sin", ("mul", "add"))


def test_without_a_mistake_nothing_is_located() -> None:
    assert locate(squared_lengths, X[:, :3], np.eye(3, dtype=np.float32), jit=substitute_compiler("tan")) is None


@pytest.mark.parametrize(
    ("chain", "place"),
    [(("add", "sqrt"), "model/layers/layer_norm.py"), (("broadcast_in_dim", "log"), "model/loss.py")],
)
def test_a_miscompiled_training_step_names_the_layer(chain: tuple[str, ...], place: str) -> None:
    piece = pieces(load_config("demo", list(SMALL)), 0)[1]
    assert compiled_result(piece, 0, regions=False, jit=substitute_compiler("tan")).verdict == PASS
    result = compiled_result(piece, 0, regions=False, jit=substitute_compiler(*chain))
    assert result.verdict == WRONG
    lines = wrapped(findings([result]))
    text = " ".join(" ".join(lines).split())
    assert f"miscompiled by XLA of jaxlib {jax.lib.__version__}" in text
    assert f"{chain[-1]} ({place}:" in text
    assert f"compiled together with {chain[0]}: float32" in text
    assert max(map(len, lines)) <= 80
    assert len(lines) < 15, "one mistake that spoils every gradient is said once"
    report = Report("", "", 0, 0.0, WRONG, "", [result])
    assert place in to_html(report)
    assert any(place in tensor["diagnosis"] for tensor in json.loads(to_json(report))["cases"][0]["tensors"])


def test_what_drowns_in_the_rounding_of_half_precision_is_seen_in_a_short_run() -> None:
    def f(x):
        for _ in range(20):
            x = jnp.sin(x * 2) / x
        return jnp.mean(jnp.tanh(jnp.sum(x, axis=1)))

    x = jnp.asarray(np.random.default_rng(0).uniform(0.5, 1, (64, 8)), jnp.bfloat16)
    compiler = substitute_compiler("convert_element_type", "reduce_sum", size=0.5)
    assert not compare(f, x, jit=compiler)[0].differs
    assert "reduce_sum" in [c.operation for c in compare_regions(f, x, jit=compiler, size=6)]


def piece_of(part: str, *overrides: str) -> Piece:
    return next(piece for piece in pieces(load_config("demo", [*SMALL, *overrides]), 0) if piece.part == part)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_part_of_a_step_agrees_with_its_operations(part: str, dtype: str) -> None:
    piece = piece_of(part, f"model.dtype={dtype}", "train.batch_size=12", "train.accumulate=3")
    result = compiled_result(piece, 0, regions=False)
    assert result.verdict == PASS, result.wrong
    assert all(tensor.scale > 0 for tensor in result.tensors), "zeros would agree with anything"
    assert result.note == f"demo, 1 of 1 block, {12 if part == LOOP else 4} images, {dtype}"


def test_a_loop_that_is_miscompiled_is_named_and_there_is_none_of_one_turn() -> None:
    result = compiled_result(piece_of(LOOP, "train.accumulate=2"), 0, regions=False, jit=substitute_compiler("scan"))
    assert result.verdict == WRONG
    assert result.wrong[0].diagnosis.partition(": ")[2].startswith("scan (training/step.py:")
    of_one_turn = pieces(load_config("demo", [*SMALL, "train.accumulate=1"]), 0)
    assert [piece.part for piece in of_one_turn] == [part for part in PARTS if part != LOOP]


def test_a_preset_is_compared_with_the_microbatch_that_it_trains_with() -> None:
    recipe = load_config("tiny_imagenet_cpu")
    assert (microbatch(recipe, QUICK_IMAGES), microbatch(recipe, MOST_IMAGES)) == (8, 16)
    assert microbatch(load_config("tiny_imagenet_cpu", ["train.accumulate=1"]), MOST_IMAGES) == 32


def test_an_update_of_the_head_alone_agrees_with_its_operations() -> None:
    config = load_config("demo", [*SMALL, "train.freeze=backbone", "train.start_from=run"])
    assert compiled_result(pieces(config, 0)[2], 0, regions=False).verdict == PASS


def test_small_integers_are_exact_in_any_order() -> None:
    def f(x):
        return jnp.floor((255 - x.astype(jnp.float32) * 2) / 2 + 0.5), x.astype(jnp.float32) / 3

    flat = flatten(jax.make_jaxpr(f)(np.arange(256, dtype=np.uint8)))
    args = [np.arange(256, dtype=np.uint8)]
    plain, changed = (flat.evaluate(args, rule) for rule in (apply, lambda e, x: rounded(e, x, 12345)))
    np.testing.assert_array_equal(plain[0], changed[0])
    differs = plain[1] != changed[1]
    np.testing.assert_array_equal(differs, np.arange(256) % 3 > 0)


def test_a_step_is_checked_in_the_precision_of_training(float64) -> None:
    piece = pieces(load_config("demo", list(SMALL)), 0)[1]
    types = {row.dtype for row in compare_in_float32(piece)}
    assert types == {"float32"}
    assert jax.config.read("jax_enable_x64"), "as it was"


def compare_in_float32(piece: Any) -> list[Any]:
    with jax.enable_x64(False):
        f, args = piece.build()
        return compare(f, *args)


@pytest.mark.skipif(jax.lib.__version__ != "0.10.2", reason="the release with the bug")
def test_the_bug_of_jaxlib_0_10_2_is_caught_and_named() -> None:
    code = """
import jax.numpy as jnp
from benchmarks.backend import squared_lengths
from verify.compiled import locate
x = jnp.zeros((32769, 3)).at[:, 0].set(jnp.arange(32769))
print(locate(squared_lengths, x, jnp.eye(3)))
"""
    ours = ("XLA_FLAGS", "JAX_DISABLE_MOST_OPTIMIZATIONS")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    environment["XLA_FLAGS"] = "--xla_cpu_experimental_ynn_fusion_type=reduce,dot"
    ended = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert re.match(r"(reduce_sum|integer_pow) \(benchmarks/backend\.py:\d+, .*dot_general", ended.stdout), ended.stderr


def test_the_default_check_compares_the_recommended_preset(call: Callable[..., Any], tmp_path: Path, float64) -> None:
    ended = call(
        gradcheck.main, "--only", "compiled: evaluation", "--verbose", "--device", "cpu", "--json", tmp_path / "r.json"
    )
    assert (ended.code, ended.err) == (0, "")
    assert "    tiny_imagenet, 2 of 8 blocks, 8 images, float32\n" in ended.out
    assert "compiled program" in " ".join(ended.out.split())
    assert max(len(line) for line in ended.out.splitlines() if not line.startswith("report ")) <= 80
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["versions"]["jaxlib"] == jax.lib.__version__
    assert [method["method"] for t in report["cases"][0]["tensors"] for method in t["methods"]] == 3 * ["compiled"]
