"""Checks against a definition in plain NumPy, for code that has no backward pass.

Differences can say nothing about an optimizer. What can be checked is that its updates are, step by step, those of the
papers (Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2; Jordan et al. 2024 and Liu et al. 2025,
arXiv:2502.16982; Pascanu et al. 2013, arXiv:1211.5063). So are the moving average, the learning rate schedules, and the
loss of each image, which evaluation uses.
"""

import math
import time
from collections.abc import Callable, Container, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import optim.adamw
import optim.clip
import optim.ema
import optim.muon
import optim.schedule
from model.loss import CrossEntropy
from optim import Optimizer
from verify.case import named
from verify.results import DEFINITION, STRUCTURE, WRONG, CaseResult, MethodResult, TensorResult
from verify.verdict import judge

STEPS = 30
BETA1, BETA2, EPS, DECAY = 0.8, 0.97, 1e-3, 0.3  # far from their usual values, so that each of them matters
SHAPES: dict[str, Any] = {
    "dense": {"W": (4, 3), "b": (3,)},
    "norm": {"gamma": (5,), "beta": (5,)},
    "embedding": {"positions": (3, 4), "class_token": (4,)},
}
DECAYING = ("dense/W",)
MOMENTUM, ITERATIONS = 0.6, 4
MUON_SHAPES: dict[str, Any] = {
    **SHAPES,
    "encoder": {"qkv": {"W": (3, 9), "b": (9,)}, "expand": {"W": (3, 5)}, "project": {"W": (5, 3)}, "gamma": (4,)},
}
MUON_MATRICES = {"encoder/qkv/W": 3, "encoder/expand/W": 1, "encoder/project/W": 1}  # how many matrices each holds


Arrays = dict[str, np.ndarray]
Comparison = tuple[str, np.ndarray, np.ndarray]  # name, value by the engine, value by the definition
Compare = Callable[[np.random.Generator], Iterator[Comparison]]


def definition_results(seed: int, only: str | None = None, targets: Container[str] | None = None) -> list[CaseResult]:
    """The results of all checks by definition: of `only` the one of this name, or of those of the functions and classes
    named in `targets`."""
    cases: tuple[tuple[str, str, Compare], ...] = (
        ("AdamW", "AdamW", lambda rng: _adamw(rng, 0.02)),
        ("AdamW, schedule", "AdamW", lambda rng: _adamw(rng, lambda step: 0.1 / (1 + step))),
        ("AdamW, float32", "AdamW", lambda rng: _types(rng, _optimizer(lambda step: 0.1 / (1 + step)))),
        ("Muon", "Muon", _muon),
        ("Muon, float32", "Muon", lambda rng: _types(rng, _muon_optimizer())),
        ("schedules", "WarmupCosine", _schedules),
        ("loss, of each image", "CrossEntropy", _losses),
        ("moving average", "EMA", _ema),
        ("clipping, above the norm", "clip_by_global_norm", lambda rng: _clip(rng, 0.4)),
        ("clipping, below the norm", "clip_by_global_norm", lambda rng: _clip(rng, 1.7)),
        ("clipping, zero gradient", "clip_by_global_norm", lambda rng: _clip(rng, 0.4, size=0.0)),
    )
    return [
        _case(name, target, seed, compare)
        for name, target, compare in cases
        if only in (None, name) and (targets is None or target in targets)
    ]


def _case(name: str, target: str, seed: int, compare: Compare) -> CaseResult:
    start = time.perf_counter()
    try:
        results = [_result(name, *row) for row in compare(np.random.default_rng([seed, len(name)]))]
    except Exception as error:  # a wrong update may raise anything
        problem = f"raises {type(error).__name__}: {error}"
        broken = TensorResult(name, "update", (), 1, diagnosis=problem)
        broken.methods = [MethodResult(STRUCTURE, WRONG, note=problem)]
        results = [broken]
    return CaseResult(name, target, frozenset({target}), seed, results, seconds=time.perf_counter() - start)


def _result(case: str, name: str, found: np.ndarray, expected: np.ndarray) -> TensorResult:
    if found.shape != expected.shape:
        raise TypeError(f"{name} has shape {found.shape}, it should have {expected.shape}")
    if found.dtype != expected.dtype:
        raise TypeError(f"{name} is {found.dtype}, it should be {expected.dtype}")
    size, scale = expected.size, max(float(np.abs(expected).max()), float(np.abs(found).max()))
    result = TensorResult(case, name, expected.shape, size, checked=size, scale=scale, zero=not scale)
    bars = np.full(size, 64 * np.finfo(np.float64).eps * scale)
    result.methods = [
        judge(
            DEFINITION, found.ravel(), expected.ravel(), bars, scale=scale, eps=float(np.finfo(np.float64).eps),
            where=lambda i: tuple(int(k) for k in np.unravel_index(i, expected.shape)),
        )
    ]  # fmt: skip
    if result.verdict == WRONG:
        result.diagnosis = "not what its definition says"
    return result


def _tree(rng: np.random.Generator, size: float = 1.0, shapes: dict[str, Any] = SHAPES) -> dict[str, Any]:
    return jax.tree.map(
        lambda shape: size * rng.normal(size=shape), shapes, is_leaf=lambda shape: isinstance(shape, tuple)
    )


def _optimizer(rate: float | Callable[[Any], Any]) -> optim.adamw.AdamW:
    return optim.adamw.AdamW(rate, BETA1, BETA2, EPS, DECAY)


def _adamw(rng: np.random.Generator, rate: float | Callable[[Any], Any]) -> Iterator[Comparison]:
    optimizer = _optimizer(rate)
    update = jax.jit(lambda params, grads, state: optimizer.update(params, grads, state))
    params = _tree(rng)
    state = optimizer.init(params)
    theta = {name: np.array(array) for name, array in named(params).items()}
    m = {name: np.zeros_like(array) for name, array in theta.items()}
    v = {name: np.zeros_like(array) for name, array in theta.items()}
    for step in range(STEPS):
        grads = _tree(rng, size=0.01 if step == 1 else 1.0)
        params, state = update(params, grads, state)
        lr = rate(step) if callable(rate) else rate
        for name, g in named(grads).items():
            _adamw_step(theta, m, v, name, g, step, lr)
    yield from _compare(params, theta, "")
    yield from _compare(state.m, m, " (m)")
    yield from _compare(state.v, v, " (v)")


def _adamw_step(theta: Arrays, m: Arrays, v: Arrays, name: str, g: np.ndarray, step: int, lr: float) -> None:
    m[name] = BETA1 * m[name] + (1 - BETA1) * g
    v[name] = BETA2 * v[name] + (1 - BETA2) * g**2
    mhat, vhat = m[name] / (1 - BETA1 ** (step + 1)), v[name] / (1 - BETA2 ** (step + 1))
    decay = DECAY if name in DECAYING else 0.0
    theta[name] = theta[name] - lr * (mhat / (np.sqrt(vhat) + EPS) + decay * theta[name])


def _muon_optimizer() -> optim.muon.Muon:
    return optim.muon.Muon(_optimizer(lambda step: 0.1 / (1 + step)), MOMENTUM, ITERATIONS)


def _muon(rng: np.random.Generator) -> Iterator[Comparison]:
    """Newton-Schulz by its effect on the singular values. The first gradient is zero, as below a head of zeros."""
    optimizer = _muon_optimizer()
    update = jax.jit(lambda params, grads, state: optimizer.update(params, grads, state))
    params = _tree(rng, shapes=MUON_SHAPES)
    state = optimizer.init(params)
    theta = {name: np.array(array) for name, array in named(params).items()}
    m, v = ({name: np.zeros_like(array) for name, array in theta.items()} for _ in range(2))
    for step in range(STEPS):
        grads = _tree(rng, 0.0 if step == 0 else 1.0, MUON_SHAPES)
        params, state = update(params, grads, state)
        lr = 0.1 / (1 + step)
        for name, g in named(grads).items():
            if name in MUON_MATRICES:
                m[name] = MOMENTUM * m[name] + g
                parts = np.split(g + MOMENTUM * m[name], MUON_MATRICES[name], axis=1)
                direction = np.concatenate([0.2 * math.sqrt(max(U.shape)) * _near_orthogonal(U) for U in parts], axis=1)
                theta[name] = theta[name] - lr * (direction + DECAY * theta[name])
            else:
                _adamw_step(theta, m, v, name, g, step, lr)
    yield from _compare(params, theta, "")
    yield from _compare(state.momentum, m, " (momentum)")
    yield from _compare(state.adamw.v, v, " (v)")
    yield "step", np.asarray(state.step, np.float64), np.asarray(float(STEPS))


def _near_orthogonal(U: np.ndarray) -> np.ndarray:
    """MUON.3 and MUON.4 of optim/muon.py, on the singular values alone."""
    P, s, QT = np.linalg.svd(U, full_matrices=False)
    s = s / max(math.sqrt((s**2).sum()), 1e-7)
    for _ in range(ITERATIONS):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return (P * s) @ QT


def _types(rng: np.random.Generator, optimizer: Optimizer) -> Iterator[Comparison]:
    """An update must not change types: parameters and averages stay float32, the step stays an integer."""
    params = jax.tree.map(lambda array: array.astype(np.float32), _tree(rng, shapes=MUON_SHAPES))
    state = optimizer.init(params)
    new_params, new_state = jax.eval_shape(optimizer.update, params, params, state)
    found = jax.tree_util.tree_leaves_with_path({"params": new_params, "state": new_state})
    expected = jax.tree.leaves({"params": params, "state": state})
    for (path, after), before in zip(found, expected, strict=True):
        place = jax.tree_util.keystr(path, simple=True, separator="/")
        yield f"type of {place}", np.zeros((), after.dtype), np.zeros((), before.dtype)


def _schedules(rng: np.random.Generator) -> Iterator[Comparison]:
    peak, final, warmup, total = 0.7, 0.04, 5, 17
    steps = np.arange(total + 4)
    u = np.clip((steps - warmup) / (total - warmup), 0, 1)
    cosine = np.where(steps < warmup, peak * steps / warmup, final + (peak - final) * (1 + np.cos(np.pi * u)) / 2)
    yield "cosine", _rates(optim.schedule.WarmupCosine(peak, warmup, total, final), steps), cosine
    yield "constant", _rates(optim.schedule.Constant(peak, warmup), steps), peak * np.clip(steps / warmup, 0, 1)


def _rates(schedule: Callable[[Any], Any], steps: np.ndarray) -> np.ndarray:
    return np.array([float(schedule(int(step))) for step in steps])


def _losses(rng: np.random.Generator) -> Iterator[Comparison]:
    logits, soft, hard = rng.normal(size=(3, 5)), rng.dirichlet(np.ones(5), size=3), rng.integers(5, size=3)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    for name, labels, targets in (("integer labels", hard, np.eye(5)[hard]), ("soft labels", soft, soft)):
        each = -((0.9 * targets + 0.1 / 5) * log_p).sum(axis=1)
        loss, _ = CrossEntropy(0.1).forward(jnp.asarray(logits), jnp.asarray(labels))
        yield name, np.asarray(CrossEntropy(0.1).each(jnp.asarray(logits), jnp.asarray(labels))), each
        yield f"{name}, mean", np.asarray(loss), each.mean()


def _ema(rng: np.random.Generator) -> Iterator[Comparison]:
    """From the initial parameters to past the end of the warmup; a float32 average stays float32."""
    decay, theta = 0.7, _tree(rng)
    ema = optim.ema.EMA(decay)
    update = jax.jit(ema.update)
    average = ema.init(theta)
    expected = {name: np.array(array) for name, array in named(theta).items()}
    for step in range(STEPS):
        theta = _tree(rng)
        average = update(average, theta, step)
        d = min(decay, (1 + step) / (10 + step))
        expected = {name: d * expected[name] + (1 - d) * array for name, array in named(theta).items()}
        if step in (0, STEPS // 2, STEPS - 1):
            yield from _compare(average, expected, f" after {step + 1}")
    single = jax.tree.map(lambda array: array.astype(np.float32), theta)
    for name, leaf in named(jax.eval_shape(ema.update, single, single, 0)).items():
        yield f"type of {name}", np.zeros((), leaf.dtype), np.zeros((), np.float32)


def _clip(rng: np.random.Generator, share: float, size: float = 1.0) -> Iterator[Comparison]:
    grads = _tree(rng, size)
    norm = math.sqrt(sum(float((g**2).sum()) for g in named(grads).values()))
    limit = share * norm or 1.0
    clipped, reported = jax.jit(lambda grads: optim.clip.clip_by_global_norm(grads, limit))(grads)
    factor = min(1.0, limit / norm) if norm else 1.0
    yield from _compare(clipped, {name: factor * g for name, g in named(grads).items()}, "")
    yield "norm", np.asarray(reported), np.asarray(norm)


def _compare(found: Any, expected: dict[str, np.ndarray], suffix: str) -> Iterator[Comparison]:
    for name, array in named(jax.device_get(found)).items():
        yield name + suffix, np.asarray(array, np.float64), expected[name]
