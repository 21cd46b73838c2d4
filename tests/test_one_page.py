"""The page is the model: the same loss and the same gradients as `ViT`, from the same parameters."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.loss import CrossEntropy
from model.one_page import vit_backward, vit_forward
from model.vit import ViT
from tests.oracle import normal, random_params
from tests.tiny_runs import ROOT
from training import checkpoint

pytestmark = pytest.mark.usefixtures("float64")

SMALL = ViT(image_size=(6, 9), patch_size=3, channels=2, d_model=8, heads=2, layers=2, mlp_dim=12, num_classes=5)
DEEP = ViT(image_size=4, patch_size=2, channels=1, d_model=6, heads=3, layers=12, mlp_dim=4, num_classes=3)


def by_layers(model: ViT, params: Any, images: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
    logits, cache = model.forward(params, images)
    loss, loss_cache = CrossEntropy().forward(logits, labels)
    return loss, *model.backward(params, cache, CrossEntropy().backward(loss_cache))


def by_page(model: ViT, params: Any, images: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
    patch = model.patch_size
    assert isinstance(patch, int)
    loss, cache = vit_forward(params, images, labels, patch, model.heads)
    return loss, *vit_backward(params, cache, patch, images.shape, model.heads)


@pytest.mark.parametrize("model", [SMALL, DEEP], ids=["two blocks", "twelve blocks"])
def test_loss_and_gradients_are_those_of_the_layers(model: ViT) -> None:
    """With twelve blocks `block_10` stands before `block_2` where keys are sorted."""
    H, W = (model.image_size,) * 2 if isinstance(model.image_size, int) else model.image_size
    params, images = random_params(model), normal(1, 3, H, W, model.channels)
    labels = jnp.array([0, 2, 2])
    expected, found = (jax.jit(way, static_argnums=0)(model, params, images, labels) for way in (by_layers, by_page))
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(b).max() + 1e-15, err_msg=str(path))


def test_it_reads_checkpoints(tmp_path: Path) -> None:
    params = SMALL.init(jax.random.key(0))
    checkpoint.save(tmp_path / "best.npz", {"params": params}, {})
    restored, _ = checkpoint.restore(tmp_path / "best.npz", jax.eval_shape(SMALL.init, jax.random.key(0)), "params")
    loss, _, _ = by_page(SMALL, restored, normal(1, 3, 6, 9, 2), jnp.array([0, 2, 2]))
    assert float(loss) == pytest.approx(np.log(5))  # the head begins with zeros


def test_it_is_plain_functions_alone() -> None:
    lines = (ROOT / "model" / "one_page.py").read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if line.startswith(("class ", "@", "from model"))]
