"""Parameters under the names of other libraries: round trips, their documented names, and what does not fit."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest

from model.vit import ViT
from model.weights.infer import infer_model
from model.weights.maps import flatten, from_names, to_names, with_learned_positions
from model.weights.namings import NAMINGS, recognize
from tests.oracle import normal, random_params

pytestmark = pytest.mark.usefixtures("float64")

D, M, C, H, L = 6, 10, 5, 2, 2
SMALL = ViT(image_size=8, patch_size=4, d_model=D, heads=H, layers=L, mlp_dim=M, num_classes=C)
MEAN = replace(SMALL, pooling="mean", class_token=False)
MODELS = {
    "class token": SMALL,
    "mean": MEAN,
    "mean beside a class token": replace(SMALL, pooling="mean"),
    "no biases of q, k, v": replace(SMALL, qkv_bias=False),
    "layer scale": replace(SMALL, layer_scale=0.1),
    "norm of patches": replace(SMALL, patch_norm_after=True),
    "oblong grey images": replace(SMALL, image_size=(8, 12), patch_size=(4, 2), channels=1),
    "no final norm": replace(SMALL, final_norm=False),
    "sinusoids": replace(MEAN, d_model=8, positions="sinusoidal_2d"),
    "post-norm": replace(SMALL, norm="post"),
    "locality": replace(SMALL, learned_temperature=True, masked_diagonal=True),
}
EVERYWHERE = {"class token", "oblong grey images"}
EXPRESSED = {
    "own": set(MODELS),
    "timm": set(MODELS) - {"post-norm", "locality"},
    "huggingface": EVERYWHERE | {"no biases of q, k, v"},
    "torchvision": EVERYWHERE,
    "google": EVERYWHERE | {"mean", "sinusoids"},
    "big_vision": EVERYWHERE | {"mean", "sinusoids"},
    "big_vision_scanned": EVERYWHERE | {"mean", "sinusoids"},
}


def norm(name: str, scale: str = ".weight", bias: str = ".bias") -> dict[str, tuple[int, ...]]:
    return {name + scale: (D,), name + bias: (D,)}


def linear(name: str, d_in: int, d_out: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (d_out, d_in), f"{name}.bias": (d_out,)}


def kernel(name: str, *shape: int, bias: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {f"{name}/kernel": shape, f"{name}/bias": bias}


def timm_names() -> dict[str, tuple[int, ...]]:
    names = {"cls_token": (1, 1, D), "pos_embed": (1, 5, D)}
    names |= {"patch_embed.proj.weight": (D, 3, 4, 4), "patch_embed.proj.bias": (D,)}
    for block in ("blocks.0", "blocks.1"):
        names |= norm(f"{block}.norm1") | linear(f"{block}.attn.qkv", D, 3 * D) | linear(f"{block}.attn.proj", D, D)
        names |= norm(f"{block}.norm2") | linear(f"{block}.mlp.fc1", D, M) | linear(f"{block}.mlp.fc2", M, D)
    return names | norm("norm") | linear("head", D, C)


def huggingface_names() -> dict[str, tuple[int, ...]]:
    names = {"vit.embeddings.cls_token": (1, 1, D), "vit.embeddings.position_embeddings": (1, 5, D)}
    patches = "vit.embeddings.patch_embeddings.projection"
    names |= {f"{patches}.weight": (D, 3, 4, 4), f"{patches}.bias": (D,)}
    for layer in ("vit.encoder.layer.0", "vit.encoder.layer.1"):
        for part in ("query", "key", "value"):
            names |= linear(f"{layer}.attention.attention.{part}", D, D)
        names |= linear(f"{layer}.attention.output.dense", D, D)
        names |= norm(f"{layer}.layernorm_before") | norm(f"{layer}.layernorm_after")
        names |= linear(f"{layer}.intermediate.dense", D, M) | linear(f"{layer}.output.dense", M, D)
    return names | norm("vit.layernorm") | linear("classifier", D, C)


def torchvision_names() -> dict[str, tuple[int, ...]]:
    names = {"class_token": (1, 1, D), "encoder.pos_embedding": (1, 5, D)}
    names |= {"conv_proj.weight": (D, 3, 4, 4), "conv_proj.bias": (D,)}
    for layer in ("encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_1"):
        attention = f"{layer}.self_attention"
        names |= {f"{attention}.in_proj_weight": (3 * D, D), f"{attention}.in_proj_bias": (3 * D,)}
        names |= norm(f"{layer}.ln_1") | linear(f"{attention}.out_proj", D, D)
        names |= norm(f"{layer}.ln_2") | linear(f"{layer}.mlp.0", D, M) | linear(f"{layer}.mlp.3", M, D)
    return names | norm("encoder.ln") | linear("heads.head", D, C)


def flax_block(block: str, names: tuple[str, str, str, str]) -> dict[str, tuple[int, ...]]:
    first, attention, second, feed_forward = (f"Transformer/{block}/{name}" for name in names)
    found = norm(first, "/scale", "/bias") | norm(second, "/scale", "/bias")
    for part in ("query", "key", "value"):
        found |= kernel(f"{attention}/{part}", D, H, D // H, bias=(H, D // H))
    found |= kernel(f"{attention}/out", H, D // H, D, bias=(D,))
    return (
        found | kernel(f"{feed_forward}/Dense_0", D, M, bias=(M,)) | kernel(f"{feed_forward}/Dense_1", M, D, bias=(D,))
    )


def flax_rest() -> dict[str, tuple[int, ...]]:
    rest = kernel("embedding", 4, 4, 3, D, bias=(D,)) | {"cls": (1, 1, D)}
    return rest | norm("Transformer/encoder_norm", "/scale", "/bias") | kernel("head", D, C, bias=(C,))


PUBLISHED = ("LayerNorm_0", "MultiHeadDotProductAttention_1", "LayerNorm_2", "MlpBlock_3")
LINEN = ("LayerNorm_0", "MultiHeadDotProductAttention_0", "LayerNorm_1", "MlpBlock_0")


def google_names() -> dict[str, tuple[int, ...]]:
    blocks = flax_block("encoderblock_0", PUBLISHED) | flax_block("encoderblock_1", PUBLISHED)
    return flax_rest() | blocks | {"Transformer/posembed_input/pos_embedding": (1, 5, D)}


def big_vision_names() -> dict[str, tuple[int, ...]]:
    blocks = flax_block("encoderblock_0", LINEN) | flax_block("encoderblock_1", LINEN)
    names = flax_rest() | blocks | {"pos_embedding": (1, 4, D)}
    return {f"params/{name}": shape for name, shape in names.items()}


def scanned_names() -> dict[str, tuple[int, ...]]:
    block = {name: (L, *shape) for name, shape in flax_block("encoderblock", LINEN).items()}
    names = flax_rest() | block | {"pos_embedding": (1, 4, D)}
    return {f"params/{name}": shape for name, shape in names.items()}


DOCUMENTED = {
    "timm": timm_names(),
    "huggingface": huggingface_names(),
    "torchvision": torchvision_names(),
    "google": google_names(),
    "big_vision": big_vision_names(),
    "big_vision_scanned": scanned_names(),
}


def arrays_of(naming: str) -> dict[str, np.ndarray]:
    """A file of the library, with random numbers."""
    return {name: normal(i, *shape) for i, (name, shape) in enumerate(DOCUMENTED[naming].items())}


def prepared(model: ViT, naming: str) -> tuple[ViT, Any]:
    params = random_params(model)
    return (model, params) if naming == "own" else with_learned_positions(model, params)


def known_of(model: ViT, naming: str) -> dict[str, Any]:
    """What a user would have to say of this model, as no array tells it."""
    known = {name: getattr(model, name) for name in ("gelu", "eps", "pooling", "norm", "masked_diagonal")}
    known |= {"layer_scale": model.layer_scale, "learned_temperature": model.learned_temperature}
    known |= {} if naming in ("google", "big_vision", "big_vision_scanned") else {"heads": model.heads}
    known |= {"image_size": model.image_size} if model.image_size != 8 or naming == "own" else {}
    if naming == "own":
        known |= {"patch_size": model.patch_size, "channels": model.channels, "positions": model.positions}
    return known


@pytest.mark.parametrize("naming", NAMINGS)
@pytest.mark.parametrize("kind", MODELS)
def test_what_a_library_can_express_comes_back_unchanged_and_else_is_refused(naming: str, kind: str) -> None:
    model, params = prepared(MODELS[kind], naming)
    if kind not in EXPRESSED[naming]:
        with pytest.raises(ValueError, match="has no model with"):
            to_names(NAMINGS[naming], model, params)
        return
    arrays = to_names(NAMINGS[naming], model, params)
    inferred = infer_model(NAMINGS[naming], arrays, known_of(model, naming))
    assert inferred == replace(model, head_weights=inferred.head_weights)
    back = from_names(NAMINGS[naming], model, arrays).params
    assert jax.tree.structure(back) == jax.tree.structure(params)
    if "big_vision" in naming and model.class_token:  # it has no position for the class token: the sum is the same
        ours, theirs = params["position_embedding"], back["position_embedding"]
        np.testing.assert_allclose(
            theirs["class_token"] + theirs["positions"][0], ours["class_token"] + ours["positions"][0]
        )
        np.testing.assert_array_equal(theirs["positions"][1:], ours["positions"][1:])
        params, back = ({**tree, "position_embedding": {}} for tree in (params, back))
    for path, array in flatten(params).items():
        np.testing.assert_array_equal(flatten(back)[path], array, err_msg=path)


@pytest.mark.parametrize("naming", DOCUMENTED)
def test_names_and_shapes_are_those_that_the_library_documents(naming: str) -> None:
    arrays = to_names(NAMINGS[naming], SMALL, random_params(SMALL))
    assert {name: array.shape for name, array in arrays.items()} == DOCUMENTED[naming]
    assert all(array.flags.c_contiguous for array in arrays.values())


@pytest.mark.parametrize("naming", DOCUMENTED)
def test_a_file_of_the_library_is_recognized_and_tells_its_model(naming: str) -> None:
    arrays = arrays_of(naming)
    found = recognize(arrays)
    assert found is not None
    assert found.name == naming.removesuffix("_scanned")
    model = infer_model(found, arrays, {} if found.kernel_axes == "hwio" else {"heads": H})
    assert model == replace(SMALL, gelu=found.computes["gelu"], eps=found.computes["eps"])
    params = from_names(found, model, arrays).params
    for name, array in to_names(NAMINGS[naming], model, params).items():
        np.testing.assert_array_equal(array, arrays[name], err_msg=name)


def test_rows_of_a_fused_projection_are_queries_then_keys_then_values() -> None:
    """Against the products themselves: a map that mixed up q, k and v would still be a round trip."""
    params, x = random_params(SMALL), normal(1, 3, D)
    W = params["encoder"]["block_0"]["attention"]["attention"]["qkv"]["W"]
    q, k, v = np.split(x @ W, 3, axis=-1)
    their = to_names(NAMINGS["huggingface"], SMALL, params)
    for part, expected in {"query": q, "key": k, "value": v}.items():
        weight = their[f"vit.encoder.layer.0.attention.attention.{part}.weight"]
        np.testing.assert_allclose(x @ weight.T, expected)
        flax = to_names(NAMINGS["google"], SMALL, params)
        kernel = flax[f"Transformer/encoderblock_0/MultiHeadDotProductAttention_1/{part}/kernel"]
        np.testing.assert_allclose(np.einsum("nd,dhk->nhk", x, kernel), expected.reshape(3, H, D // H))


def test_a_patch_kernel_is_that_of_a_convolution() -> None:
    params, image = random_params(SMALL), normal(2, 4, 4, 3)
    expected = image.reshape(-1) @ params["patch_embedding"]["project"]["W"]
    oihw = to_names(NAMINGS["timm"], SMALL, params)["patch_embed.proj.weight"]
    hwio = to_names(NAMINGS["google"], SMALL, params)["embedding/kernel"]
    np.testing.assert_allclose(np.einsum("hwc,dchw->d", image, oihw), expected)
    np.testing.assert_allclose(np.einsum("hwc,hwcd->d", image, hwio), expected)


@partial(jax.jit, static_argnums=0)  # compiled once for all namings
def forward(model: ViT, params: Any, images: Any) -> jax.Array:
    return model.forward(params, images)[0]


@pytest.mark.parametrize("naming", ["timm", "huggingface", "google", "big_vision"])
def test_the_function_stays_the_same(naming: str) -> None:
    """Also with the sinusoids written out as a table."""
    sinusoids = replace(SMALL, d_model=8, positions="sinusoidal_1d")
    params, images = random_params(sinusoids), normal(3, 2, 8, 8, 3)
    model, learned = with_learned_positions(sinusoids, params)
    back = from_names(NAMINGS[naming], model, to_names(NAMINGS[naming], model, learned)).params
    np.testing.assert_allclose(forward(model, back, images), forward(sinusoids, params, images), rtol=1e-12)


SPELLINGS = {
    "transformers in memory": ("huggingface", {
        "encoder.layer.": "layers.", "attention.attention.query": "attention.q_proj",
        "attention.attention.key": "attention.k_proj", "attention.attention.value": "attention.v_proj",
        "attention.output.dense": "attention.o_proj", "intermediate.dense": "mlp.fc1", ".output.dense": ".mlp.fc2",
    }),
    "transformers' ViTModel": ("huggingface", {"vit.": ""}),
    "torchvision 0.12": ("torchvision", {".mlp.0.": ".mlp.linear_1.", ".mlp.3.": ".mlp.linear_2."}),
    "vision_transformer in linen": ("google", dict(zip(PUBLISHED, LINEN, strict=True))),
    "big_vision before linen": ("big_vision", dict(zip(reversed(LINEN), reversed(PUBLISHED), strict=True))),
    "parameters alone": ("big_vision", {"params/": ""}),
    "a training state": ("big_vision", {"params/": "opt/target/"}),
}  # fmt: skip


@pytest.mark.parametrize("kind", SPELLINGS)
def test_other_spellings_are_read(kind: str) -> None:
    naming, rules = SPELLINGS[kind]
    arrays, model = arrays_of(naming), SMALL
    spelled = {}
    for name, array in arrays.items():
        for old, new in rules.items():
            name = name.replace(old, new)
        spelled[name] = array
    assert spelled.keys() != arrays.keys()
    found = recognize(spelled)
    assert found == NAMINGS[naming]
    expected = from_names(found, model, arrays).params
    actual = from_names(found, model, spelled).params
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


def test_positions_without_one_for_the_class_token_get_a_row_of_zeros() -> None:
    arrays = arrays_of("timm")
    arrays["pos_embed"] = arrays["pos_embed"][:, 1:]
    assert infer_model(NAMINGS["timm"], arrays, {"heads": H}).image_size == 8
    positions = from_names(NAMINGS["timm"], SMALL, arrays).params["position_embedding"]["positions"]
    np.testing.assert_array_equal(positions, np.concatenate([np.zeros((1, D)), arrays["pos_embed"][0]]))


DROPPED = {
    "huggingface": ("vit.pooler.dense.weight", "the pooler"),
    "big_vision": ("opt/count", "the state of a training"),
    "timm": ("mask_token", "the token of masked patches"),
}


@pytest.mark.parametrize("naming", DROPPED)
def test_what_no_logit_depends_on_is_left_out_and_named(naming: str) -> None:
    name, what = DROPPED[naming]
    dropped = from_names(NAMINGS[naming], SMALL, arrays_of(naming) | {name: np.zeros(D)}).dropped
    assert len(dropped) == 1
    assert dropped[0].startswith(f"{name} ({what}")


UNLIKE = {
    ("timm", "fc_norm.weight"): "a layer norm behind the mean",
    ("timm", "pre_logits.fc.weight"): "pre-logits",
    ("timm", "reg_token"): "register tokens",
    ("timm", "blocks.0.attn.q_norm.weight"): "layer norms of queries and keys",
    ("torchvision", "heads.pre_logits.weight"): "pre-logits",
    ("google", "pre_logits/kernel"): "pre-logits",
    ("google", "block1/unit1/conv1/kernel"): "a ResNet",
    ("big_vision", "params/MAPHead_0/probe"): "pooling by attention",
}


@pytest.mark.parametrize(("naming", "name"), UNLIKE)
def test_parts_that_change_the_logits_are_refused_by_name(naming: str, name: str) -> None:
    with pytest.raises(ValueError, match=f"this model has .*{UNLIKE[naming, name]}"):
        from_names(NAMINGS[naming], SMALL, arrays_of(naming) | {name: np.zeros(D)})


def test_one_message_tells_what_is_missing_additional_or_of_another_shape() -> None:
    arrays = arrays_of("timm") | {"head.bias": np.zeros(7), "swin.weight": np.zeros(1)}
    del arrays["norm.bias"]
    with pytest.raises(ValueError, match="lacks") as error:
        from_names(NAMINGS["timm"], SMALL, arrays)
    assert str(error.value) == "it lacks norm.bias; it also has swin.weight; head.bias has shape (7,), not (5,)"


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no head": ({"head.weight": None}, "there is no head"),
    "no blocks": ({f"{name}": None for name in timm_names() if name.startswith("blocks")}, "no encoder block"),
    "a flat kernel": ({"patch_embed.proj.weight": (D, 48)}, "not that of a projection of patches"),
    "a head of three axes": ({"head.weight": (C, D, 1)}, r"head.weight has shape \(5, 6, 1\), which fits no model"),
    "positions of no square": ({"pos_embed": (1, 7, D)}, "6 positions of patches are no square"),
    "another width": ({"norm.weight": (7,)}, r"norm.weight has shape \(7,\), not \(6,\)"),
    "empty": ({"pos_embed": (0, 5, D)}, "pos_embed"),
}


@pytest.mark.parametrize("kind", BAD)
def test_arrays_that_fit_no_model_are_named(kind: str) -> None:
    changes, message = BAD[kind]
    arrays = arrays_of("timm") | {name: np.zeros(shape) for name, shape in changes.items() if shape is not None}
    arrays = {name: array for name, array in arrays.items() if changes.get(name, 1) is not None}
    with pytest.raises(ValueError, match=message):
        from_names(NAMINGS["timm"], infer_model(NAMINGS["timm"], arrays, {"heads": H}), arrays)


def test_heads_that_contradict_the_kernels_are_refused() -> None:
    with pytest.raises(ValueError, match="its kernels have 2 heads, not 3"):
        infer_model(NAMINGS["google"], arrays_of("google"), {"heads": 3})


def test_what_the_library_computes_otherwise_is_told() -> None:
    assert NAMINGS["torchvision"].differences(SMALL) == ["gelu=erf, and here tanh"]
    assert NAMINGS["google"].differences(SMALL) == []
    assert NAMINGS["timm"].differences(SMALL) == []  # there it can be chosen


def test_names_of_something_else_are_not_recognized() -> None:
    assert recognize({"conv1.weight": np.zeros((4, 3, 7, 7)), "fc.weight": np.zeros((5, 4))}) is None
