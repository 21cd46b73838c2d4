"""The exercises, in the order in which the layers build on each other. None requires another."""

from types import ModuleType
from typing import Any

from exercises.machinery import points
from exercises.machinery.answers import FOLDER, load_answer
from exercises.machinery.exercise import Exercise, Invariant
from exercises.machinery.points import HEADS, IMAGES, TOKENS, B, C, D, K, M, N, P, drawn, layers
from exercises.machinery.runner import load
from model.layers.dense import Dense
from model.layers.feed_forward import FeedForward
from model.layers.layer_norm import LayerNorm
from model.layers.multi_head_attention import MultiHeadAttention


def _sums_to_zero(tensor: str, words: str, axis: int) -> Invariant:
    return Invariant(tensor, f"sum over the {words} of {tensor}", lambda _, dy, g: g[tensor].sum(axis=axis))


def _along_xhat(arguments: dict[str, Any], dy: Any, gradients: dict[str, Any]) -> Any:
    x = arguments["x"]
    xhat = (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)
    return (gradients["dx"] * xhat).sum(-1)


EMBEDDED = drawn(images=IMAGES, W=(P, D), b=(D,))
HEADWISE = (B, HEADS, N, K)
BLOCK = layers(norm_1=LayerNorm(D), attention=MultiHeadAttention(D, HEADS), norm_2=LayerNorm(D),
                feed_forward=FeedForward(D, M))  # fmt: skip

EXERCISES = (
    Exercise(
        "circuit", "Three numbers, one of them used twice", drawn(a=(B,), b=(B,), c=(B,)),
        ("a", "b", "c"),
    ),
    Exercise(
        "matrix_product", "Both factors of a matrix product", drawn(A=(N, D), B=(D, M)), ("A", "B"),
        incoming="dZ",
    ),
    Exercise("dense_input", "Dense: the gradient of the input", drawn(x=TOKENS, W=(D, M), b=(M,)), ("x",)),
    Exercise(
        "dense_parameters", "Dense: the gradients of weights and bias", drawn(x=TOKENS, W=(D, M), b=(M,)), ("W", "b")
    ),
    Exercise("gelu_tanh", "GELU, tanh form", drawn(x=TOKENS), ("x",)),
    Exercise("gelu_erf", "GELU, exact form", drawn(x=TOKENS), ("x",)),
    Exercise(
        "softmax", "Softmax", drawn(scores=(B, N, C)), ("scores",),
        (_sums_to_zero("dscores", "last axis", -1),), incoming="dp",
    ),
    Exercise(
        "cross_entropy", "Cross entropy", drawn(logits=(B, C), targets=(B, C)), ("logits",),
        (_sums_to_zero("dlogits", "classes", -1),), incoming="dloss",
    ),
    Exercise(
        "label_smoothing", "Cross entropy with label smoothing", drawn(logits=(B, C), labels=(B, C)), ("logits",),
        (_sums_to_zero("dlogits", "classes", -1),), incoming="dloss",
    ),
    Exercise(
        "layer_norm", "Layer normalization", drawn(x=TOKENS, gamma=(D,), beta=(D,)), ("x", "gamma", "beta"),
        (
            _sums_to_zero("dx", "features", -1),
            Invariant("dx", "product of dx and xhat, summed over the features,", _along_xhat),
        ),
    ),
    Exercise("residual", "Fan-out: several uses, one sum", drawn(x=TOKENS, W=(D, D)), ("x", "W")),
    Exercise(
        "sequential", "Layers one after another",
        layers(first=Dense(D, D), norm=LayerNorm(D), last=Dense(D, D)), ("x", "params"),
    ),
    Exercise(
        "dropout", "Dropout", drawn(x=TOKENS, mask=TOKENS), ("x",),
        (Invariant("dx", "dx where an element was dropped", lambda a, dy, g: g["dx"] * (1 - a["mask"])),),
    ),
    Exercise(
        "drop_path", "Drop path", drawn(x=TOKENS, branch=TOKENS, mask=(B, 1, 1)), ("x", "branch"),
        (Invariant("dbranch", "dbranch where an image's branch was dropped",
                   lambda a, dy, g: g["dbranch"] * (1 - a["mask"])),),
    ),
    Exercise("keep_tokens", "Patch dropout: a gather, and its scatter", points.kept_tokens, ("x",)),
    Exercise(
        "layer_scale", "LayerScale: a gain behind a branch", drawn(x=TOKENS, branch=TOKENS, gamma=(D,)),
        ("x", "branch", "gamma"),
    ),
    Exercise("patch_embedding", "Patch embedding", EMBEDDED, ("images", "W", "b")),
    Exercise(
        "class_token", "Class token and positions", drawn(x=(B, N - 1, D), class_token=(D,), positions=(N, D)),
        ("x", "class_token", "positions"),
    ),
    Exercise(
        "mean_pooling", "Mean pooling", drawn(x=TOKENS), ("x",),
        (
            Invariant("dx", "dx at the class token", lambda a, dy, g: g["dx"][:, 0]),
            Invariant("dx", "sum over the tokens of dx, minus dy,", lambda a, dy, g: g["dx"].sum(1) - dy),
        ),
    ),
    Exercise(
        "attention", "Scaled dot-product attention", drawn(q=HEADWISE, k=HEADWISE, v=HEADWISE), ("q", "k", "v"),
        (
            _sums_to_zero("dk", "tokens", -2),
            Invariant("dv", "sum over the tokens of dv, minus that of dy,", lambda a, dy, g: (g["dv"] - dy).sum(-2)),
        ),
    ),
    Exercise(
        "split_heads", "Splitting q, k and v into heads", drawn(qkv=(B, N, 3 * D)), ("qkv",),
        incoming="dparts",
    ),
    Exercise("merge_heads", "Merging the heads", drawn(heads=HEADWISE), ("heads",), incoming="dmerged"),
    Exercise(
        "multi_head_attention", "Multi-head attention",
        drawn(x=TOKENS, W_qkv=(D, 3 * D), b_qkv=(3 * D,), W_out=(D, D), b_out=(D,)),
        ("x", "W_qkv", "b_qkv", "W_out", "b_out"),
        (Invariant("db_qkv", "gradient of the keys' bias", lambda a, dy, g: g["db_qkv"][D : 2 * D]),),
    ),
    Exercise(
        "feed_forward", "Feed-forward", drawn(x=TOKENS, W_1=(D, M), b_1=(M,), W_2=(M, D), b_2=(D,)),
        ("x", "W_1", "b_1", "W_2", "b_2"),
    ),
    Exercise("pre_norm_block", "A pre-norm encoder block", BLOCK, ("x", "params")),
    Exercise("post_norm_block", "A post-norm encoder block", BLOCK, ("x", "params")),
    Exercise("adamw", "AdamW", points.adamw, ("theta", "m", "v"), function="update"),
    Exercise("muon", "Muon", points.muon, ("theta", "m"), function="update"),
    Exercise("clipping", "Clipping by global norm", points.gradients, ("clipped",), function="clip"),
    Exercise("schedule", "A learning rate schedule", points.steps, ("rates",), function="learning_rate"),
    Exercise(
        "central_difference", "A gradient by central differences", points.measured_row, ("h", "gradient"),
        function="central_difference",
    ),
    Exercise(
        "taylor_test", "The Taylor test of a gradient", points.direction, ("remainders", "rates"),
        function="taylor_test",
    ),
    Exercise(
        "complex_step", "A gradient by the complex step", points.row_and_matrix, ("gradient",), function="complex_step"
    ),
    Exercise(
        "temperature", "Temperature: one factor for all logits",
        drawn(logits=(B, C), targets=(B, C), tau=()), ("logits", "tau"),
        (_sums_to_zero("dlogits", "classes", -1),), incoming="dloss",
    ),
    Exercise(
        "moving_average", "A moving average and its age", points.parameters, ("average", "shares", "age"),
        function="moving_average",
    ),
    Exercise("accumulation", "Gradient accumulation", points.batch, ("loss", "gradient"), function="accumulated"),
    Exercise(
        "attention_in_blocks", "Attention that recomputes its weights", drawn(q=HEADWISE, k=HEADWISE, v=HEADWISE),
        ("q", "k", "v"), (_sums_to_zero("dk", "tokens", -2),),
    ),
    Exercise("rollout", "Attention rollout", points.attention_weights, ("seen",), function="rollout"),
    Exercise(
        "integrated_gradients", "Gradient times input, and integrated", points.image_and_model,
        ("times_input", "integrated"), function="shares",
    ),
    Exercise("ring", "Ring all-reduce", points.pieces, ("sent", "owned", "mean"), function="ring"),
    Exercise("restore_tokens", "Tokens put back, and a mask token", points.restored_tokens, ("x", "mask_token")),
    Exercise(
        "masked_error", "The loss of hidden patches", points.hidden_patches, ("loss", "dy"), function="masked_error",
    ),
)  # fmt: skip


def solution_module(name: str) -> ModuleType:
    """The reader's file with the solution in it, as a module."""
    return load(load_answer(name).source, FOLDER / f"{name}.rot13")


def find_exercise(name: str) -> Exercise:
    """The exercise of this name."""
    return next(exercise for exercise in EXERCISES if exercise.name == name)
