"""Functions that JAX cannot trace are checked all the same: of NumPy or PyTorch arrays, or with an `if` on a value."""

import math
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from verify import CheckError, PrecisionError, check, check_layer

pytestmark = pytest.mark.usefixtures("float64")

X = np.array([0.3, -0.7, 1.1, 2.0])


def branch(x):
    return jnp.sin(x) if x.sum() > 0 else jnp.cos(x)


def by_index(x):
    return (x.at[0].set(0.0) if x.sum() > 0 else x) * x


def in_place(x):
    x *= x
    return x[::-1].copy()


def on_the_host(x):  # one function, so that it is compiled once
    return np.sin(np.asarray(x))


def by_host(x):
    return jax.pure_callback(on_the_host, jax.ShapeDtypeStruct((4,), np.float64), x)


# f, its derivative of every coordinate, which both methods are to confirm, and whether there is a complex step
UNTRACED = {
    "NumPy": (np.sin, lambda x, dy: dy * np.cos(x), True),
    "NumPy, gradient by JAX": (np.sin, lambda x, dy: dy * jnp.cos(x), True),
    "JAX, gradient by NumPy": (jnp.sin, lambda x, dy: dy * np.cos(x), True),
    "if": (branch, lambda x, dy: dy * jnp.cos(x) if x.sum() > 0 else dy, True),
    "if, and an update by index": (by_index, lambda x, dy: jnp.asarray(2 * x * dy).at[0].set(0.0), True),
    "in place": (in_place, lambda x, dy: 2 * x * dy[::-1], True),
    "list": (lambda x: np.array([math.exp(v) for v in x]), lambda x, dy: dy * np.exp(x), False),
    "one number": (lambda x: float((x**2).sum()), lambda x, dy: 2 * x * dy, False),
    "domain": (lambda x: np.array([math.sqrt(v + 0.8) for v in x]), lambda x, dy: dy / 2 / np.sqrt(x + 0.8), False),
    "callback": (by_host, lambda x, dy: dy * jnp.cos(x), False),
}  # fmt: skip


@pytest.mark.parametrize("name", UNTRACED)
def test_a_function_that_jax_cannot_trace_is_checked(name) -> None:
    f, gradient, complex_step = UNTRACED[name]
    result = check(f, X, gradient)
    assert result.passed, str(result)
    methods = {m.method: m for m in result.tensors[0].methods}
    assert ("complex step" in methods) == complex_step, result.note
    assert methods["differences"].worst < 1e-9
    assert methods["Taylor"].verdict == "pass"
    wrong = check(f, X, lambda x, dy: 1.0001 * gradient(x, dy))
    assert wrong.verdict == "wrong"
    assert wrong.wrong[0].diagnosis == "nearly right, off by a share of 0.0001 everywhere"


def test_a_layer_of_numpy_is_checked() -> None:
    class Dense:
        def init(self, key):
            return {"W": np.ones((4, 3)), "b": np.zeros(3)}

        def forward(self, params, x, key=None):
            return np.dot(np.asarray(x), np.asarray(params["W"])) + params["b"], x

        def backward(self, params, cache, dy):
            return np.dot(dy, params["W"].T), {"W": np.dot(cache.T, dy), "b": np.sum(dy, axis=0)}

    assert check_layer(Dense(), (5, 4)).passed

    class NoBias(Dense):
        def backward(self, params, cache, dy):
            dx, grads = super().backward(params, cache, dy)
            return dx, grads | {"b": dy[0]}

    assert [(t.name, t.diagnosis[:38]) for t in check_layer(NoBias(), (5, 4)).wrong] == [
        ("b", "not summed: only image 0 was counted")
    ]


def test_a_layer_of_numpy_that_keeps_its_input_is_told_so() -> None:
    class Keeps:
        def init(self, key):
            return {"gamma": np.ones(4)}

        def forward(self, params, x, key=None):
            self.x = np.asarray(x)
            return params["gamma"] * self.x, None

        def backward(self, params, cache, dy):
            return params["gamma"] * dy, {"gamma": np.sum(self.x * dy, axis=0)}

    assert "outside its cache (self.x)" in check_layer(Keeps(), (3, 4)).wrong[0].diagnosis


def test_the_output_of_a_called_function_must_be_float64_as_well() -> None:
    with pytest.raises(PrecisionError, match="f: the output is float32: use float64 "):
        check(lambda x: np.sin(x, dtype=np.float32), X, lambda x, dy: dy)
    with pytest.raises(CheckError, match="must return one array, not tuple"):
        check(lambda x: (np.sin(x), 0), X, lambda x, dy: dy)


def test_what_a_called_function_itself_raises_is_raised() -> None:
    def broken(x):
        np.asarray(x)
        raise ValueError("the function is broken")

    with pytest.raises(ValueError, match="the function is broken"):
        check(broken, X, lambda x, dy: dy)


def test_an_exception_in_a_backward_of_numpy_is_not_about_tracers() -> None:
    def backward(x, dy):
        return np.asarray(dy) @ np.ones((7, 7))

    found = check(np.sin, X, backward).wrong[0].diagnosis
    assert found.startswith("the backward raises ValueError: matmul"), found
    assert "test_verify_called.py, line" in found


# PyTorch, or what behaves like it: its functions take tensors of its own, and nothing else.


class Tensor:
    def __init__(self, array):
        self.array = np.asarray(array)

    dtype = property(lambda self: self.array.dtype)
    shape = property(lambda self: self.array.shape)

    def detach(self):
        return self

    def __array__(self, dtype=None, copy=None):
        return self.array

    def __mul__(self, other):
        return Tensor(self.array * getattr(other, "array", other))

    __rmul__ = __mul__


def only_tensors(function, name):
    def call(tensor):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name}(): argument 'input' (position 1) must be Tensor, not {type(tensor).__name__}")
        if name == "erf" and np.iscomplexobj(tensor.array):
            raise RuntimeError("\"erf_vml_cpu\" not implemented for 'ComplexDouble'")
        return Tensor(function(tensor.array))

    return call


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch):
    module = types.ModuleType("torch")
    erf = np.vectorize(math.erf)
    for name, function in {"sin": np.sin, "cos": np.cos, "exp": np.exp, "erf": erf}.items():
        setattr(module, name, only_tensors(function, name))
    module.from_numpy = Tensor
    monkeypatch.setitem(sys.modules, "torch", module)
    return module


@pytest.mark.parametrize("as_tensor", [False, True])
def test_a_function_of_pytorch_is_checked(torch, as_tensor) -> None:
    x = Tensor(X) if as_tensor else X
    result = check(torch.sin, x, lambda x, dy: dy * torch.cos(x))
    assert result.passed, str(result)
    assert result.tensors[0].method("complex step").worst < 1e-14
    assert check(torch.sin, x, lambda x, dy: dy * torch.sin(x)).verdict == "wrong"


def test_an_operation_of_pytorch_without_complex_numbers_is_checked_by_differences(torch) -> None:
    result = check(torch.erf, X, lambda x, dy: 2 / math.sqrt(math.pi) * torch.exp(-1.0 * (x * x)) * dy)
    assert result.passed, str(result)
    assert result.note == (
        "no complex step: the forward takes no complex numbers: "
        "RuntimeError: \"erf_vml_cpu\" not implemented for 'ComplexDouble'"
    )


def test_arrays_that_nobody_knows_are_refused_in_one_sentence() -> None:
    with pytest.raises(
        CheckError, match=r"f: the function can be checked neither with JAX's arrays nor with NumPy's: "
    ):
        check(only_tensors(np.sin, "sin"), X, lambda x, dy: dy)
