"""The numbers that the microscope's self-test compares to: every value and gradient that model/one_page.py computes.

They come from the lines of one_page.py themselves: `Recorder` watches its functions run, line by line, and notes each
value that a name is given. Nothing here computes a value of the model.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Callable
from types import FrameType
from typing import Any

import jax
import jax.numpy as jnp
import microscope
import numpy as np

from checks.mutants import mutants_by_name, planted
from model import one_page

IMAGES = (0, 3, 7)  # of the pictures that are shown
MISTAKES = (
    "the term through the mean is dropped",
    "the weighted mean is dropped",
    "1/sqrt(K) is left out of dq",
    "the weights are not transposed in dv",
    "the residual of the feed-forward is forgotten",
    "the slope of GELU is left out",
    "the gradient of the class token goes to every token",
    "the heads are not split in the backward as they were merged",
    "the patches are put back in the order of their columns",
)
OF_A_BATCH = ("the mean over the batch is left out", "positions are averaged over the batch")
"""Mistakes that the page does not have: it computes one image at a time, and in a batch of one they change nothing."""


class Recorder:
    """While it is active, `given[function, name]` grows by each value that a function of one_page.py gives a name.

    What a function returns is noted as (function, "return").
    """

    def __init__(self) -> None:
        self.given: dict[tuple[str, str], list[Any]] = defaultdict(list)

    def __enter__(self) -> "Recorder":
        self._before = sys.gettrace()
        sys.settrace(self._enter)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        if not frame.f_code.co_filename.endswith("one_page.py") or frame.f_code.co_name.startswith("<"):
            return None
        function, seen = frame.f_code.co_name, dict[str, Any]()

        def watch(frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
            for name, value in frame.f_locals.items():
                if name not in seen or seen[name] is not value:
                    seen[name] = value
                    self.given[function, name].append(value)
            if event == "return":
                self.given[function, "return"].append(argument)
            return watch

        return watch(frame, event, argument)


def tensors(params: Any, image: np.ndarray, label: int) -> dict[str, np.ndarray]:
    """All that one_page.py computes of one image (16, 16), under the names of vit.js."""
    images, H = jnp.asarray(image, float)[None, :, :, None], microscope.MODEL.heads
    patch = 4
    with Recorder() as recorder:
        _, cache = one_page.vit_forward(params, images, jnp.array([label]), patch, H)
        one_page.vit_backward(params, cache, patch, images.shape, H)
    names = _forward_names(recorder.given) | _backward_names(recorder.given)
    return {name: np.asarray(value, float) for name, value in names.items()}


def _forward_names(given: dict[tuple[str, str], list[Any]]) -> dict[str, Any]:
    def of(name: str, function: str = "vit_forward") -> list[Any]:
        return given[function, name]

    patches, blocks = of("patches")[0], len(of("weights"))
    x, dense = of("x"), given["dense", "return"]
    named = {
        "patches": patches, "embedded": x[0], "tokens": x[1], "class_x": x[-1][:, 0], "z": of("z")[0],
        "logits": of("logits")[0], "log_p": of("log_p")[0], "loss": of("loss")[0], "final/x": x[-1],
        "p": given["vit_backward", "p"][0], "target": of("target")[0],
    }  # fmt: skip
    for i in range(blocks):
        named |= {f"block_{i}/{name}": value for name, value in {
            "x": x[2 + 2 * i], "h": x[3 + 2 * i], "a": of("a")[i], "q": of("q")[2 * i], "scaled_q": of("q")[2 * i + 1],
            "k": of("k")[i], "v": of("v")[i], "scores": given["softmax", "scores"][i], "weights": of("weights")[i],
            "mixed": given["merge_heads", "heads"][i], "merged": of("mixed")[i], "b": of("b")[i],
            "hidden": of("hidden")[i], "gelu/slope": of("slope")[i], "gelu/gate": given["gelu", "s"][i],
            "qkv": dense[1 + 4 * i], "att": dense[2 + 4 * i], "expanded": dense[3 + 4 * i], "ffn": dense[4 + 4 * i],
        }.items()}  # fmt: skip
    norms = [f"block_{i}/norm_{j}" for i in range(blocks) for j in (1, 2)] + ["norm"]
    for place, norm in enumerate(norms):
        xhat, rstd = given["layer_norm", "return"][place][1]
        named |= {
            f"{norm}/xhat": xhat,
            f"{norm}/rstd": rstd,
            f"{norm}/centred": given["layer_norm", "centred"][2 * place + 1],
        }
    return named


def _backward_names(given: dict[tuple[str, str], list[Any]]) -> dict[str, Any]:
    def of(name: str) -> list[Any]:
        return given["vit_backward", name]

    blocks, dx = len(of("dweights")), of("dx")
    dense_dy, dense_made = given["dense_backward", "dy"], given["dense_backward", "return"]
    named = {
        "dlogits": of("dlogits")[0], "dz": of("dz")[0], "dclass_x": of("dclass")[0], "final/dx": dx[0],
        "dtokens": dx[-1], "dembedded": dense_dy[-1], "dpatches": of("dpatches")[0],
        "dimage": of("dimages")[0],
    }  # fmt: skip
    for i in range(blocks):
        step = blocks - 1 - i  # the last block is the first on the way back
        named |= {f"block_{i}/{name}": value for name, value in {
            "dffn": dense_dy[1 + 4 * step], "dhidden": of("dhidden")[step], "dexpanded": dense_dy[2 + 4 * step],
            "db": of("db")[step], "dh_branch": of("dbranch")[2 * step], "dh_skip": dx[2 * step], "dh": dx[1 + 2 * step],
            "datt": dense_dy[3 + 4 * step], "dmerged": of("dmerged")[step], "dmixed": of("dmixed")[step],
            "dweights": of("dweights")[step], "dv": of("dv")[step], "dscores": of("dscores")[step],
            "dq": of("dq")[step], "dk": of("dk")[step], "dqkv": of("dthirds")[step], "da": of("da")[step],
            "dx_branch": of("dbranch")[2 * step + 1], "dx_skip": dx[1 + 2 * step], "dx": dx[2 + 2 * step],
        }.items()}  # fmt: skip
    norms = ["norm"] + [f"block_{i}/norm_{j}" for i in reversed(range(blocks)) for j in (2, 1)]
    for place, norm in enumerate(norms):
        grads = given["layer_norm_backward", "return"][place][1]
        named[f"{norm}/dxhat"] = given["layer_norm_backward", "dxhat"][place]
        named |= {f"{norm}/d{key}": value for key, value in grads.items()}
    layers = ["head"] + [
        f"block_{i}/{name}" for i in reversed(range(blocks)) for name in ("project", "expand", "out", "qkv")
    ]
    for layer, (_, grads) in zip([*layers, "patch_embedding"], dense_made, strict=True):
        named |= {f"{layer}/d{key}": value for key, value in grads.items()}
    places = given["vit_backward", "grads"][0]["position_embedding"]
    return named | {"dclass_token": places["class_token"], "dpositions": places["positions"]}


def changed(right: dict[str, np.ndarray], wrong: dict[str, np.ndarray]) -> list[str]:
    """The tensors that a mistake changes."""
    return [name for name, value in right.items() if np.abs(wrong[name] - value).max() > 1e-12]


def selftest_script() -> str:
    """The text of selftest-data.js: the tensors of three images, and what each mistake changes in each of them."""
    with jax.enable_x64(True), np.load(microscope.KEPT) as kept:
        params = jax.tree.map(jnp.asarray, microscope.tree_of(kept["trained"].astype(float)))
        about, labels = json.loads(str(kept["about"])), kept["labels"].tolist()
        images = (kept["images"] / 255 - about["mean"]) / about["std"]
        made = {i: tensors(params, images[i], labels[i]) for i in IMAGES}
        known = mutants_by_name()
        spoiled: dict[int, dict[str, list[str]]] = {i: {} for i in IMAGES}
        for mistake in MISTAKES:
            with planted(known["model/one_page.py", mistake]):
                for i in IMAGES:
                    spoiled[i][mistake] = changed(made[i], tensors(params, images[i], labels[i]))
    packed = {i: {name: microscope.packed(x.astype("<f8")) for name, x in each.items()} for i, each in made.items()}
    return f"const SELFTEST = {json.dumps({'tensors': packed, 'mistakes': spoiled}, separators=(',', ':'))};\n"
