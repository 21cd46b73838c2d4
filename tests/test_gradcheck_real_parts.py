"""Products of complex numbers in real parts, as a complex step on a GPU needs them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from checks.cases import attention_cases
from verify.complex_step import STEP
from verify.probe import Probe
from verify.programs import complex_program
from verify.random_rounding import randomly_rounded
from verify.real_parts import BILINEAR, in_real_parts

pytestmark = pytest.mark.usefixtures("float64")

rng = np.random.default_rng(0)


def complex_products(jaxpr):
    """How many products of complex numbers a traced program makes, in the programs inside it too."""
    count = 0
    for equation in jaxpr.eqns:
        count += equation.primitive.name in BILINEAR and any(jnp.iscomplexobj(v.aval) for v in equation.invars)
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda v: hasattr(v, "eqns")):
            inner = getattr(value, "jaxpr", value)
            count += complex_products(inner) if hasattr(inner, "eqns") else 0
    return count


def draw(*shape):
    return jnp.asarray(rng.normal(size=shape) + 1j * rng.normal(size=shape))


@pytest.mark.parametrize(
    "f",
    [
        lambda a, b: a @ b,
        lambda a, b: jax.jit(jnp.matmul)(a, b.real),
        lambda a, b: jnp.einsum("bij,bkj->bik", jnp.stack([a, a]), jnp.stack([b, b])),
        lambda a, b: jax.lax.map(lambda row: row @ b, a),
        lambda a, b: jax.lax.fori_loop(0, 3, lambda _, x: x @ b, a),
        lambda a, b: jax.lax.cond(a[0, 0].real > 9, lambda a: a, lambda a: a @ b, a),
        lambda a, b: jnp.convolve(a[0], b[0]),
        lambda a, b: {"tree": (a @ b, a.real @ b.real)},
    ],
    ids=["matrices", "one real, compiled", "stacks", "scan", "loop", "branch", "convolution", "tree"],
)
def test_the_result_is_that_of_complex_products_and_none_is_left(f):
    a, b = draw(5, 5), draw(5, 5)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-12), in_real_parts(f)(a, b), f(a, b))
    assert complex_products(jax.make_jaxpr(f)(a, b).jaxpr) == 1
    assert complex_products(jax.make_jaxpr(in_real_parts(f))(a, b).jaxpr) == 0


@jax.custom_vjp
def own_rule(x):
    return jnp.sin(x)


own_rule.defvjp(lambda x: (own_rule(x), x), lambda x, dy: (dy * jnp.cos(x),))


@pytest.mark.parametrize("f", [jax.nn.relu, own_rule, jax.checkpoint(jnp.sin), jax.jit(jnp.sin)])
def test_a_function_of_constants_alone_may_have_its_own_derivative_rule(f):
    def shifted(x):
        return x + f(jnp.arange(3.0))

    x = jnp.ones(3)
    np.testing.assert_allclose(in_real_parts(shifted)(x), shifted(x))
    np.testing.assert_allclose(randomly_rounded(shifted)(jnp.int64(3), x), shifted(x), rtol=1e-14)


def test_three_real_products_lose_a_complex_step_and_four_do_not():
    a, c = rng.normal(size=(2, 5, 5))
    b, d = STEP * rng.normal(size=(2, 5, 5))
    expected = a @ d + b @ c
    gauss = (a + b) @ (c + d) - a @ c - b @ d
    assert np.abs(gauss - expected).max() > 0.5 * np.abs(expected).max()
    found = in_real_parts(jnp.matmul)(a + 1j * b, c + 1j * d)
    np.testing.assert_allclose(found.imag, expected, rtol=1e-12)


def test_on_a_gpu_the_checker_makes_no_complex_products(monkeypatch):
    case = next(iter(attention_cases(0)))
    probe = Probe(case, np.random.default_rng(0))
    arguments = (probe._flat, probe._constants, probe.w, np.arange(8), probe._table, np.full(8, STEP))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    program = complex_program.__wrapped__(case.function, probe.layout, probe.small, True)
    assert complex_products(jax.make_jaxpr(program)(*arguments).jaxpr) == 0
    np.testing.assert_allclose(program(*arguments), probe.complex_steps(np.arange(8), np.full(8, STEP)), rtol=1e-12)
