"""The walk through a composed layer: all layers with their paths, and the very inputs of the forward pass."""

from typing import Any

import jax
import numpy as np
import pytest

from model.combinators import Sequential
from model.layers.dense import Dense
from model.layers.gelu import GELU
from model.vit import ViT
from model.walk import activations, leaves, walk

MODEL = ViT(image_size=8, patch_size=4, d_model=8, heads=2, layers=2, mlp_dim=12, num_classes=5, dropout=0.3)


def run(model: Any, key: Any) -> tuple[dict[str, Any], jax.Array]:
    """What `activations` yields by path, and the output that it returns."""
    params, found = model.init(jax.random.key(0)), {}
    walked = activations(model, params, jax.numpy.ones((3, 8, 8, 3)), key)
    while True:
        try:
            step = next(walked)
            found[step.path] = step
        except StopIteration as end:
            return found, end.value


@pytest.mark.parametrize("key", [None, jax.random.key(1)], ids=["evaluation", "training"])
@pytest.mark.parametrize(
    "options",
    [
        {"norm": "pre"}, {"norm": "post"}, {"norm": "none", "residual": False},
        {"layers": 0, "pooling": "mean", "class_token": False, "dropout": 0.0},
    ],
    ids=str,
)  # fmt: skip
def test_the_walk_is_the_forward_pass(options: Any, key: Any) -> None:
    model = ViT(**{**vars(MODEL), **options})
    found, y = run(model, key)
    expected, _ = model.forward(model.init(jax.random.key(0)), jax.numpy.ones((3, 8, 8, 3)), key)
    np.testing.assert_array_equal(y, expected)
    head = found["head"]
    np.testing.assert_array_equal(head.layer.forward(head.params, head.x)[0], expected)


def test_parents_come_first_and_leaves_are_what_computes() -> None:
    paths = [path for path, _ in walk(MODEL)]
    assert paths == list(run(MODEL, None)[0])
    assert paths[0] == ""
    assert paths.index("encoder") < paths.index("encoder/block_0") < paths.index("encoder/block_0/attention/norm")
    found = dict(leaves(MODEL))
    assert isinstance(found["encoder/block_1/feed_forward/feed_forward/gelu"], GELU)
    assert "encoder/block_0" not in found


def test_parameters_have_the_paths_of_their_layers() -> None:
    params = MODEL.init(jax.random.key(0))
    for path, layer in walk(MODEL):
        branch = params
        for name in path.split("/") if path else ():
            branch = branch[name]
        assert jax.tree.structure(branch) == jax.tree.structure(layer.init(jax.random.key(0)))


def test_a_layer_by_itself_is_its_own_leaf() -> None:
    assert list(leaves(Dense(2, 3))) == [("", Dense(2, 3))]
    assert [path for path, _ in leaves(Sequential((("a", Dense(2, 3)),)))] == ["a"]
