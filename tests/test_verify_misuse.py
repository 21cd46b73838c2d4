"""A mistake in the use of the checker is told in words of its own, and not as a mistake in the derivative."""

import inspect
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from verify import CheckError, check, check_layer

pytestmark = pytest.mark.usefixtures("float64")

X = np.array([0.3, -0.7, 1.1, 2.0])


class Scale:
    """y = gamma x."""

    def init(self, key):
        return {"gamma": jnp.ones(4)}

    def forward(self, params, x, key=None):
        return params["gamma"] * x, x

    def backward(self, params, cache, dy):
        return params["gamma"] * dy, {"gamma": (cache * dy).sum(axis=0)}


# State.


class KeepsInput(Scale):
    def forward(self, params, x, key=None):
        self.x = x
        return params["gamma"] * x, None

    def backward(self, params, cache, dy):
        return super().backward(params, self.x, dy)


class KeepsParams(KeepsInput):
    def forward(self, params, x, key=None):
        self.params = params
        return super().forward(params, x, key)


class KeepsInputInside(Scale):
    def __init__(self):
        self.inner = KeepsInput()

    def forward(self, params, x, key=None):
        return self.inner.forward(params, x, key)

    def backward(self, params, cache, dy):
        return self.inner.backward(params, cache, dy)


class KeepsTuple(Scale):
    def forward(self, params, x, key=None):
        self.saved = (x, 1)
        return params["gamma"] * x, None

    def backward(self, params, cache, dy):
        return super().backward(params, self.saved[0], dy)


@pytest.mark.parametrize(
    ("layer", "place"),
    [
        (KeepsInput(), "self.x"),
        (KeepsParams(), "self.params, self.x"),
        (KeepsInputInside(), "self.inner.x"),
        (KeepsTuple(), "self.saved"),
    ],
)
def test_a_layer_that_keeps_its_input_on_self_is_told_so(layer, place) -> None:
    result = check_layer(layer, (3, 4))
    told = f"the layer keeps something outside its cache ({place}): the gradient is right only if no other forward"
    assert [t.name for t in result.wrong] == ["gamma"]
    assert result.wrong[0].diagnosis.startswith(told), result.wrong[0].diagnosis
    assert not hasattr(layer, "x"), "nothing that was traced stays behind"


def test_a_layer_that_keeps_its_input_and_is_wrong_besides_gets_the_diagnosis_of_the_mistake() -> None:
    class Twice(KeepsInput):
        def backward(self, params, cache, dy):
            dx, grads = super().backward(params, cache, dy)
            return 2 * dx, grads

    found = {t.name: t.diagnosis for t in check_layer(Twice(), (3, 4)).wrong}
    assert found["x"] == "scaled by 2"
    assert "outside its cache" in found["gamma"]

    class Square(KeepsInput):
        """Its dx depends on what it kept, so that only without another forward the pattern can be seen."""

        def init(self, key):
            return {"W": jax.random.normal(key, (4, 4))}

        def forward(self, params, x, key=None):
            self.x = x
            return jnp.tanh(x @ params["W"]), None

        def backward(self, params, cache, dy):
            d = dy * (1 - jnp.tanh(self.x @ params["W"]) ** 2)
            return d @ params["W"], {"W": self.x.T @ d}

    found = {t.name: t.diagnosis for t in check_layer(Square(), (3, 4)).wrong}
    assert found["x"].startswith("W is not transposed")
    assert "outside its cache (self.x)" in found["W"]


def test_a_running_mean_on_self_is_told_and_not_jaxs_error_about_tracers() -> None:
    class Running(Scale):
        def __init__(self):
            self.mean = jnp.zeros(4)

        def forward(self, params, x, key=None):
            self.mean = 0.9 * self.mean + 0.1 * x.mean(axis=0)
            return params["gamma"] * (x - self.mean), x - self.mean

    layer = Running()
    for _ in range(2):
        with pytest.raises(
            CheckError, match="Running: an array from one call is used in another: keep nothing on self"
        ):
            check_layer(layer, (3, 4))
        assert np.all(np.asarray(layer.mean) == 0)


# Random numbers.


def by_global_generator(x):
    return x * np.random.normal(size=4)  # noqa: NPY002


def by_mask_of_few(x):
    return x * (np.random.random(4) < 0.95)  # noqa: NPY002


def by_own_generator(x, rng=np.random.default_rng(0)):  # noqa: B008
    return jnp.sin(x) * rng.normal()


def by_counter(x, calls=[0]):  # noqa: B006
    calls[0] += 1
    return x * calls[0]


def by_numpy(x):
    return np.sin(x) + 1e-3 * np.random.normal(size=4)  # noqa: NPY002


@pytest.mark.parametrize(
    ("f", "source"),
    [
        (by_global_generator, " (it draws from np.random)"),
        (jax.jit(by_global_generator), " (it draws from np.random)"),
        (by_mask_of_few, " (it draws from np.random)"),
        (by_numpy, " (it draws from np.random)"),
        (by_own_generator, ""),
        (by_counter, ""),
    ],
)
def test_a_function_that_returns_something_else_each_time_is_told_so(f, source) -> None:
    result = check(f, X, lambda x, dy: 1.05 * dy)
    assert result.verdict == "inconclusive"
    told = f"the function returns something else each time, so f(x) != f(x){source}: draw random numbers beforehand"
    assert result.note.startswith(told), result.note
    assert result.tensors[0].diagnosis == result.note


def test_a_function_that_only_fills_a_cache_is_checked() -> None:
    cache = {}

    def f(x):
        if "c" not in cache:
            cache["c"] = np.asarray(jnp.arange(4.0))
            return x * jnp.asarray(cache["c"]) + 0.0
        return x * cache["c"]

    assert check(f, X, lambda x, dy: np.arange(4.0) * dy).passed


def test_a_seed_that_is_set_each_time_gives_a_function() -> None:
    def f(x):
        return x * np.random.RandomState(3).normal(size=4)

    assert check(f, X, lambda x, dy: dy * np.random.RandomState(3).normal(size=4)).passed


def test_a_backward_that_draws_its_mask_again_is_told_so() -> None:
    x, masks = np.tile(X, 16), np.random.default_rng(0)  # masks of so many numbers are never the same by chance
    for draw in (lambda: masks.random(64) < 0.5, lambda: np.random.random(64) < 0.5):  # noqa: NPY002
        result = check(lambda x: 2.0 * x, x, lambda x, dy, draw=draw: 2.0 * dy * draw())
        assert result.wrong[0].diagnosis.startswith("the backward returns something else each time"), str(result)


# Signatures and what is returned.


@pytest.mark.parametrize(
    ("analytic", "takes"),
    [
        (lambda x: 2 * x, "1 argument"),
        (jnp.cos, "1 argument"),
        (np.cos, "1 argument"),
        (lambda x, y, dy: dy, "3 arguments"),
        (lambda: 0, "0 arguments"),
        (lambda x, *, dy: dy, "the keyword dy"),
    ],
)
def test_an_analytic_with_other_arguments_is_told_how_it_is_called(analytic, takes) -> None:
    with pytest.raises(CheckError, match=rf"analytic takes {takes}, but is called as analytic\(x, dy\): dy is the"):
        check(jnp.sin, X, analytic)


def test_an_analytic_with_more_arguments_that_need_not_be_given_is_fine() -> None:
    assert check(jnp.sin, X, lambda x, dy, scale=1.0: scale * dy * jnp.cos(x)).passed
    assert check(jnp.sin, X, lambda *both: both[1] * jnp.cos(both[0])).passed
    assert check(jnp.sin, X, partial(lambda c, x, dy: c * dy * jnp.cos(x), 1.0)).passed


def test_other_arguments_of_f_and_missing_returns_are_told() -> None:
    with pytest.raises(CheckError, match=r"f takes 2 arguments, but is called as f\(x\): put the arrays into one tree"):
        check(lambda a, b: a * b, X, lambda x, dy: dy)
    with pytest.raises(CheckError, match=r"Scale: x is 3: give a shape, as in \(3, 4\), or an array"):
        check_layer(Scale(), 3)
    with pytest.raises(CheckError, match=r"Scale: x is \(3, -4\): give a shape"):
        check_layer(Scale(), (3, -4))
    with pytest.raises(CheckError, match=r"f is a ndarray, not a function: write check\(f, x, analytic\)"):
        check(X, jnp.sin, lambda x, dy: dy)
    with pytest.raises(CheckError, match=r"analytic returned None \(is the return missing\?\), but x is one array"):
        check(jnp.sin, X, lambda x, dy: None)
    with pytest.raises(CheckError, match="analytic returned a tuple of 1, but x is one array"):
        check(jnp.sin, X, lambda x, dy: (dy * jnp.cos(x),))
    with pytest.raises(CheckError, match="analytic returned one array, but x is a dict of 1"):
        check(lambda t: jnp.sin(t["a"]), {"a": X}, lambda t, dy: dy * jnp.cos(t["a"]))
    with pytest.raises(CheckError, match=r"f returns an array: give analytic\(x, dy\)"):
        check(jnp.sin, X, np.cos(X))
    with pytest.raises(CheckError, match="must return one array, not tuple"):
        check(lambda x: (x, x), X, lambda x, dy: dy)


class OnlyDx(Scale):
    def backward(self, params, cache, dy):
        return params["gamma"] * dy


class OnlyY(Scale):
    def forward(self, params, x, key=None):
        return params["gamma"] * x


class Nothing(Scale):
    def backward(self, params, cache, dy):
        params["gamma"] * dy


class Three(Scale):
    def backward(self, params, cache, dy):
        return params["gamma"] * dy, {"gamma": dy.sum(axis=0)}, None


class Swapped(Scale):
    def backward(self, params, cache, dy):
        return super().backward(params, cache, dy)[::-1]


class Listed(Scale):
    def backward(self, params, cache, dy):
        dx, grads = super().backward(params, cache, dy)
        return dx, list(grads.values())


class NoGrads(Scale):
    def backward(self, params, cache, dy):
        return super().backward(params, cache, dy)[0], None


class TwoArguments(Scale):
    def backward(self, cache, dy):
        return dy, {}


class NoKey(Scale):
    def init(self):
        return {"gamma": jnp.ones(4)}


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        (OnlyDx(), r"OnlyDx: backward must return \(dx, grads\), but it returned one array"),
        (OnlyY(), r"OnlyY: forward must return \(y, cache\), but it returned one array"),
        (Nothing(), r"Nothing: backward must return \(dx, grads\), but it returned None \(is the return missing\?\)"),
        (Three(), r"Three: backward must return \(dx, grads\), but it returned a tuple of 3"),
        (Swapped(), "Swapped: backward returned a dict of 1 as dx, but x is one array"),
        (Listed(), "Listed: backward returned a list of 1 as grads, but init returns a dict of 1"),
        (
            NoGrads(),
            r"NoGrads: backward returned None \(is the return missing\?\) as grads, but init returns a dict of 1",
        ),
        (TwoArguments(), r"TwoArguments: backward takes 2 arguments, but is called as backward\(params, cache, dy\)"),
        (NoKey(), r"NoKey: init takes 0 arguments, but is called as init\(key\)"),
        (Scale, r"Scale is a class: give an object of it, as in Scale\(...\)"),
        (object(), "object has no init and no forward and no backward: a layer has"),
    ],
)
def test_a_layer_that_returns_something_else_is_told_what_is_expected(layer, told) -> None:
    with pytest.raises(CheckError, match=told):
        check_layer(layer, (2, 4))  # an array of two rows could be unpacked by mistake


def test_a_layer_that_is_not_hashable_is_told_why() -> None:
    @dataclass
    class Mutable(Scale):
        size: int = 4

    @dataclass(frozen=True)
    class Lists(Scale):
        sizes: list = field(default_factory=list)

    with pytest.raises(CheckError, match=r"Mutable: .* a dataclass that can be changed: write @dataclass\(frozen=T"):
        check_layer(Mutable(), (3, 4))
    with pytest.raises(CheckError, match=r"Lists: .* one of its fields is not \(.*list.*\): make a list a tuple"):
        check_layer(Lists(), (3, 4))


# Where, and what.


def line_of(function, text: str) -> int:
    lines, first = inspect.getsourcelines(function)
    return first + next(i for i, line in enumerate(lines) if text in line)


def test_an_exception_in_a_backward_names_its_file_and_line() -> None:
    def helper(dy):
        return dy @ jnp.ones((7, 7))  # it is raised inside JAX

    def in_jax(x, dy):
        return helper(dy)

    def own(x, dy):
        raise ValueError("no such matrix\nmore")

    for analytic, place in ((in_jax, line_of(helper, "jnp.ones((7, 7))")), (own, line_of(own, "raise"))):
        found = check(jnp.sin, X, analytic).wrong[0].diagnosis
        assert found.startswith(f"the backward raises {'TypeError' if analytic is in_jax else 'ValueError'}: "), found
        assert found.endswith(f"test_verify_misuse.py, line {place})"), found

    class Raises(Scale):
        def backward(self, params, cache, dy):
            return dy @ cache["W"], {}

    found = check_layer(Raises(), (3, 4)).wrong[0].diagnosis
    assert found.endswith(f"test_verify_misuse.py, line {line_of(Raises, 'dy @ cache')})"), found


W = np.random.default_rng(1).normal(size=(4, 4))
GAIN = np.array([0.5, 1.5, -1.0, 2.0])
BATCH = {"x": np.random.default_rng(2).normal(size=(5, 4)), "W": W, "gain": GAIN}


@pytest.mark.parametrize(
    ("f", "dx", "told"),
    [
        (lambda t: t["x"] @ t["W"], lambda t, dy: dy @ t["W"], "W is not transposed"),
        (lambda t: t["x"] @ t["W"].T, lambda t, dy: dy @ t["W"].T, "W is transposed, but"),
        (lambda t: jnp.tanh(t["x"] @ t["W"]), lambda t, dy: (dy * (1 - jnp.tanh(t["x"] @ t["W"]) ** 2)) @ t["W"],
         "W is not transposed"),
        (lambda t: t["x"] @ t["W"] + t["x"], lambda t, dy: dy @ t["W"] + dy, "W is not transposed"),
        (lambda t: (t["x"] @ t["W"]) * t["gain"] + t["x"], lambda t, dy: (dy * t["gain"]) @ t["W"] + dy,
         "W is not transposed"),
    ],
    ids=["dense", "stored as (out, in)", "before a tanh", "in a residual", "before a gain"],
)  # fmt: skip
def test_a_square_matrix_that_is_not_transposed_is_named(f, dx, told) -> None:
    def analytic(t, dy):
        right = jax.vjp(f, t)[1](dy)[0]
        return right | {"x": dx(t, dy)}

    result = check(f, BATCH, analytic)
    assert [t.name for t in result.wrong] == ["x"]
    assert result.wrong[0].diagnosis.startswith(told), result.wrong[0].diagnosis


class Scaled:
    """y = w x, with any parameters."""

    def __init__(self, **others: Any) -> None:
        self.others = others

    def init(self, key: jax.Array) -> dict[str, Any]:
        return {"w": jnp.ones(3)} | self.others

    def forward(self, params: dict[str, Any], x: jax.Array, key: Any = None) -> tuple[jax.Array, jax.Array]:
        return x * params["w"], x

    def backward(self, params: dict[str, Any], x: jax.Array, dy: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        return dy * params["w"], {"w": (dy * x).sum(axis=0)}


@pytest.mark.parametrize(
    ("others", "told"),
    [
        ({"n": jnp.arange(3)}, "init returned n of type int"), ({"n": 3}, "init returned n of type int"),
        ({"s": "a"}, "init returned s of type str"), ({"k": jax.random.key(0)}, r"init returned k of type key"),
        ({"b": np.array([True])}, "init returned b of type bool"),
    ],
    ids=str,
)  # fmt: skip
def test_parameters_that_are_no_numbers_are_named(others: dict[str, Any], told: str) -> None:
    with pytest.raises(CheckError, match=told):
        check_layer(Scaled(**others), (2, 3))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"seed": "a"}, "seed='a'"), ({"seed": -1}, "seed=-1: give a whole number"), ({"seed": 1.5}, "seed=1.5"),
        ({"seed": True}, "seed=True"), ({"name": 3}, "name=3: give a text"), ({"plan": "a"}, "plan='a': give a Plan"),
    ],
    ids=str,
)  # fmt: skip
def test_arguments_of_another_type_are_named(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(CheckError, match=told):
        check(jnp.sin, np.ones(3), lambda x, dy: dy * jnp.cos(x), **arguments)


def test_regions_are_a_function() -> None:
    with pytest.raises(CheckError, match=r"regions=.*give a function of the tensors"):
        check_layer(Scaled(), (2, 3), regions={"w": 3})  # type: ignore[arg-type]


def test_a_list_of_numbers_is_no_array() -> None:
    with pytest.raises(CheckError, match=r"x has a list of numbers.*np\.array"):
        check(lambda x: x * x, [1.0, 2.0], lambda x, dy: 2 * x * dy)
    assert check(lambda x: x[0] * x[1], [1.5, 2.5], lambda x, dy: [dy * x[1], dy * x[0]]).passed


def test_a_gradient_of_text_is_told() -> None:
    with pytest.raises(CheckError, match="analytic returned 'a', which is no number"):
        check(jnp.sin, np.ones(3), lambda x, dy: "a")
