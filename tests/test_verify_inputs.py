"""A layer may have several inputs, and inputs of integers; what does not fit is told."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from verify import CheckError, Plan, check, check_layer
from verify.results import case_line, case_lines

pytestmark = pytest.mark.usefixtures("float64")

FEW = Plan(coordinates=1)
IDS = np.array([[1, 2, 2], [0, 4, 1]])


class Embedding:
    """y = table[ids]."""

    def init(self, key):
        return {"table": jax.random.normal(key, (5, 3))}

    def forward(self, params, ids, key=None):
        return params["table"][ids], ids

    def backward(self, params, cache, dy):
        return None, {"table": jnp.zeros((5, 3)).at[cache].add(dy)}


def test_an_embedding_of_integers_is_checked() -> None:
    result = check_layer(Embedding(), IDS)
    assert result.passed, str(result)
    assert [t.name for t in result.tensors] == ["table"]

    class Overwrites(Embedding):
        def backward(self, params, cache, dy):
            return None, {"table": jnp.zeros((5, 3)).at[cache].set(dy)}

    assert [t.name for t in check_layer(Overwrites(), IDS).wrong] == ["table"]

    class KeepsIds(Embedding):
        def forward(self, params, ids, key=None):
            self.ids = ids
            return params["table"][ids], None

        def backward(self, params, cache, dy):
            return super().backward(params, self.ids, dy)

    assert "outside its cache (self.ids)" in check_layer(KeepsIds(), IDS).wrong[0].diagnosis


class Attention:
    """y = q k^T v, without softmax."""

    def init(self, key):
        return {"scale": jnp.ones(())}

    def forward(self, params, q, k, v, key=None):
        return params["scale"] * q @ k.swapaxes(-1, -2) @ v, (q, k, v)

    def backward(self, params, cache, dy):
        q, k, v = cache
        ds = params["scale"] * dy @ v.swapaxes(-1, -2)
        dv = params["scale"] * (q @ k.swapaxes(-1, -2)).swapaxes(-1, -2) @ dy
        dscale = (dy * (q @ k.swapaxes(-1, -2) @ v)).sum()
        return (ds @ k, ds.swapaxes(-1, -2) @ q, dv), {"scale": dscale}


class Flat(Attention):
    """The same, and its gradients in one row."""

    def forward(self, params, query, key, value):
        return super().forward(params, query, key, value)

    def backward(self, params, cache, dy):
        (dq, dk, dv), grads = super().backward(params, cache, dy)
        return dq, dk, dv, grads


SHAPES = ((2, 3, 4), (2, 5, 4), (2, 5, 6))


@pytest.mark.parametrize(
    ("layer", "names"), [(Attention(), ["q", "k", "v"]), (Flat(), ["query", "key", "value"])], ids=["tuple", "in a row"]
)
def test_several_inputs_have_the_names_of_the_arguments(layer, names) -> None:
    result = check_layer(layer, SHAPES)
    assert result.passed, str(result)
    assert [t.name for t in result.tensors] == ["scale", *names]


def test_a_mistake_in_one_of_several_inputs_is_found() -> None:
    class Mistaken(Attention):
        def backward(self, params, cache, dy):
            (dq, dk, dv), grads = super().backward(params, cache, dy)
            return (dq, dk, 2 * dv), grads

    assert [(t.name, t.diagnosis) for t in check_layer(Mistaken(), SHAPES).wrong] == [
        ("v", "scaled by 2 = B = sqrt(D)")
    ]


class Masked:
    """y = x where a mask is set; the mask is one of two inputs, and there is no parameter."""

    def init(self, key):
        return {}

    def forward(self, params, x, mask):
        return jnp.where(mask, jnp.sin(x), 0.0), (x, mask)

    def backward(self, params, cache, dy):
        x, mask = cache
        return (jnp.where(mask, jnp.cos(x) * dy, 0.0), None), {}


class OneTree(Masked):
    def forward(self, params, inputs, key=None):
        return super().forward(params, inputs["x"], inputs["mask"])

    def backward(self, params, cache, dy):
        (dx, _), grads = super().backward(params, cache, dy)
        return {"x": dx, "mask": None}, grads


def test_floats_and_integers_side_by_side_or_in_a_tree() -> None:
    mask = np.array([[True, False, True], [False, True, True]])
    result = check_layer(Masked(), ((2, 3), mask))
    assert result.passed, str(result)
    assert [t.name for t in result.tensors] == ["x"]
    result = check_layer(OneTree(), {"x": (2, 3), "mask": mask})
    assert result.passed, str(result)
    assert [t.name for t in result.tensors] == ["x/x"]


def test_an_array_is_the_point_itself() -> None:
    class Cube:
        def init(self, key):
            return ()

        def forward(self, params, x):  # it takes no key
            return x**3, x

        def backward(self, params, cache, dy):
            return 3 * cache**2 * dy, ()

    assert check_layer(Cube(), np.array([1.0, -2.0])).passed
    with pytest.raises(CheckError, match="Cube: train=True passes a PRNG key, but forward takes none"):
        check_layer(Cube(), (2, 3), train=True)


def test_inputs_that_do_not_fit_are_told() -> None:
    with pytest.raises(
        CheckError, match=r"Attention: forward takes 3 inputs \(q, k, v\), but 1 is given: give a tuple"
    ):
        check_layer(Attention(), (2, 3, 4))

    class OnlyOne(Attention):
        def backward(self, params, cache, dy):
            (dq, _, _), grads = super().backward(params, cache, dy)
            return dq, grads

    with pytest.raises(
        CheckError, match="OnlyOne: backward returned 1 gradient of inputs, but there are 3 inputs: return"
    ):
        check_layer(OnlyOne(), SHAPES)

    class NameTaken(Attention):
        def init(self, key):
            return {"q": jnp.ones(())}

    with pytest.raises(CheckError, match="NameTaken: q is the name of the input"):
        check_layer(NameTaken(), SHAPES)


def test_a_printed_result_has_headings_a_short_repr_and_a_table_for_notebooks() -> None:
    result = check_layer(Attention(), SHAPES)
    title, headings, *rows = str(result).splitlines()
    assert title.startswith("Attention   125 coordinates, ")
    assert headings.split() == ["tensor", "shape", "complex", "differ.", "Taylor", "verdict"]
    assert [row.split()[0] for row in rows] == ["scale", "q", "k", "v"]
    assert [row.index("pass") for row in rows] == [headings.index("verdict")] * 4
    assert repr(result) == "<CaseResult Attention: pass, 4 tensors, 125 coordinates>"
    assert repr(result.tensors[1]) == "<TensorResult q, 2 x 3 x 4: pass>"
    page = result._repr_html_()
    assert page.count("<tr>") == 5
    assert "<td>2 x 3 x 4</td>" in page


def test_a_case_of_a_long_name_fits_80_columns() -> None:
    result = check(jnp.sin, np.ones((2, 3)), lambda x, dy: dy * jnp.cos(x), name="encoder/block_0/" * 5)
    assert max(map(len, [*str(result).splitlines(), *case_lines(result), case_line(result)])) <= 80
    tree = check(lambda t: jnp.sin(t["a" * 70]), {"a" * 70: np.ones((20, 2, 1, 3, 4))}, lambda t, dy: t, plan=FEW)
    assert max(map(len, str(tree).splitlines())) <= 80


def test_what_did_not_pass_is_explained_within_80_columns_and_escaped_in_a_notebook() -> None:
    result = check(jnp.sin, np.ones((2, 3)), lambda x, dy: dy, name="f<g")
    assert repr(result) == "<CaseResult f<g: wrong (x), 1 tensor, 6 coordinates>"
    assert max(map(len, str(result).splitlines())) <= 80
    assert "WRONG  f<g: x, shape (2, 3)" in str(result)
    assert "WRONG  f&lt;g: x, shape (2, 3)" in result._repr_html_()
    unknown = check(jnp.log, -np.ones(3), lambda x, dy: dy)
    assert str(unknown).count("the output holds NaN") == unknown._repr_html_().count("the output holds NaN") == 1
