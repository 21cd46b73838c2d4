"""No automatic differentiation in the product: not in its source, and not in the program that its step compiles to."""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from data.augment import Augmentation
from model.loss import CrossEntropy
from model.vit import ViT
from optim.adamw import AdamW
from optim.schedule import WarmupCosine
from training.objective import Classification
from training.step import TrainingStep

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("common", "model", "data", "optim", "training", "verify", "checks", "exercises")
FILES = {*ROOT.glob("*.py"), *(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))}
PRODUCT = sorted(FILES)

# Source. What a name in a file stands for is followed through imports and assignments to a path such as `jax.lax.exp`.

RUNTIME = {"jax", "numpy", "yaml", "PIL", "tqdm"}  # the packages that may be imported; any other could differentiate
DERIVATIVES = {  # parts of a path below jax that differentiate, or that set how to
    "grad", "value_and_grad", "vjp", "jvp", "linearize", "linear_transpose", "jacfwd", "jacrev", "jacobian", "hessian",
    "fwd_and_bwd", "custom_vjp", "custom_jvp", "custom_gradient", "custom_derivatives", "checkpoint", "remat",
    "ad_checkpoint", "checkpoint_policies", "ad", "test_util", "check_grads", "jet", "interpreters", "extend", "_src",
}  # fmt: skip
READY_MADE = {"nn", "scipy"}  # softmax, gelu, erf: functions whose derivative JAX brings along
UNMISTAKABLE = {  # as an attribute of anything at all: nobody calls something else by such a name
    "value_and_grad", "vjp", "jvp", "jacfwd", "jacrev", "custom_vjp", "custom_jvp", "custom_gradient",
    "linear_transpose", "check_grads",
}  # fmt: skip


class Names:
    """What the local names of one file may stand for, whatever the scope."""

    def __init__(self, tree: ast.AST) -> None:
        self.paths: dict[str, set[str]] = defaultdict(set)
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self.paths[alias.asname or alias.name.partition(".")[0]].add(
                        alias.name if alias.asname else alias.name.partition(".")[0]
                    )
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                for alias in node.names:
                    self.paths[alias.asname or alias.name].add(f"{node.module}.{alias.name}")
        while self._follow_assignments(tree):  # until the longest chain of `a = jax; b = a` has been followed
            pass

    def _follow_assignments(self, tree: ast.AST) -> bool:
        before = sum(map(len, self.paths.values()))
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    self._bind(target, node.value)
            elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
                self._bind(node.target, node.value)
        return sum(map(len, self.paths.values())) > before

    def _bind(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self.paths[target.id] |= self.resolve(value)
        elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, other in zip(target.elts, value.elts, strict=False):
                self._bind(one, other)

    def resolve(self, node: ast.expr) -> set[str]:
        if isinstance(node, ast.Name):
            return self.paths.get(node.id, set())
        if isinstance(node, ast.Attribute):
            return {f"{path}.{node.attr}" for path in self.resolve(node.value)}
        if isinstance(node, ast.Call):
            called, texts = node.func, [a.value for a in node.args if isinstance(a, ast.Constant)]
            name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
            if name in ("import_module", "__import__") and texts:
                return {str(texts[0])}
            if name == "getattr" and texts:
                return {f"{path}.{texts[0]}" for path in self.resolve(node.args[0])}
        return set()


def autodiff_in(source: str) -> list[str]:
    """Every use of automatic differentiation in a Python file, as `line: what`."""
    tree = ast.parse(source)
    names = Names(tree)
    return [f"{node.lineno}: {what}" for node in ast.walk(tree) for what in _uses(node, names)]


def _uses(node: ast.AST, names: Names) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if _is_forbidden(alias.name))
    elif isinstance(node, ast.ImportFrom) and node.level == 0:
        yield from (p for p in (f"{node.module}.{alias.name}" for alias in node.names) if _is_forbidden(p))
    elif isinstance(node, ast.Attribute | ast.Name | ast.Call):
        yield from (path for path in sorted(names.resolve(node)) if _is_forbidden(path))
    if isinstance(node, ast.Attribute) and node.attr in UNMISTAKABLE:
        yield f".{node.attr}"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        texts = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
        if node.func.id == "getattr":
            yield from (f"getattr {text}" for text in texts if text in UNMISTAKABLE)
        if node.func.id in ("eval", "exec"):
            yield from (found for text in texts for found in autodiff_in(f"import jax\n{text}"))


def _is_forbidden(path: str) -> bool:
    root, *rest = path.split(".")
    return root == "jax" and bool(DERIVATIVES.intersection(rest) or {*READY_MADE, "*"}.intersection(rest[:1]))


OPTIONAL = {
    "training/curves.py": {"matplotlib"},
    "training/event_file.py": {"tensorboardX"},
    "training/weights/files.py": {"safetensors"},
}
"""What a command of its own may import, and nothing else imports."""


def foreign_packages_in(source: str) -> set[str]:
    """Packages imported that are neither Python's, nor ours, nor what the product may use."""
    roots = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            roots |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            roots.add(str(node.module).partition(".")[0])
    commands = {file.stem for file in ROOT.glob("*.py")}
    return roots - sys.stdlib_module_names - RUNTIME - {*PACKAGES} - commands


@pytest.mark.parametrize("file", PRODUCT, ids=lambda file: str(file.relative_to(ROOT)))
def test_the_source_is_without_autodiff(file: Path) -> None:
    source = file.read_text(encoding="utf-8")
    assert autodiff_in(source) == []
    assert foreign_packages_in(source) == OPTIONAL.get(str(file.relative_to(ROOT)), set())


def test_the_files_are_all_there() -> None:
    found = {str(file.relative_to(ROOT)) for file in PRODUCT}
    assert {
        "train.py",
        "evaluate.py",
        "predict.py",
        "model/layers/softmax.py",
        "optim/adamw.py",
        "training/step.py",
        "training/objective.py",
    } < found
    assert {"data/augment/policy.py", "verify/check.py"} < found


@pytest.mark.parametrize(
    "source",
    [
        "import jax\njax.grad(f)",
        "import jax as j\nj.value_and_grad(f)",
        "from jax import grad",
        "from jax import vjp as pull",
        "from jax import *",
        "import jax\nback = jax\nback.jacrev(f)",
        "import jax\na, b = jax, 1\nc = a\nc.hessian(f)",
        "import jax\nif (j := jax):\n    j.linearize(f, x)",
        "import jax\nx: object = jax\nx.jacobian",
        "import jax\ndef step(differentiate=jax.jvp): pass",
        "import jax\n@jax.custom_vjp\ndef f(x): return x",
        "from jax import custom_jvp",
        "from functools import partial\nimport jax\n@partial(jax.checkpoint, policy=None)\ndef f(x): return x",
        "import jax\njax.remat(f)",
        "from jax.ad_checkpoint import checkpoint_policies",
        "import jax\ngetattr(jax, 'grad')(f)",
        "import jax\ngetattr(jax, 'jac' 'fwd')(f)",
        "import jax\ng = getattr(jax, 'nn')\n",
        "import jax.numpy as jnp\njnp.something.check_grads(f)",
        "from jax.test_util import check_grads",
        "import jax.test_util",
        "import importlib\nimportlib.import_module('jax.nn')",
        "__import__('jax').grad(f)",
        "import jax\njax.linear_transpose(f, x)",
        "import jax\njax.custom_gradient(f)",
        "import jax\njax.nn.softmax(x)",
        "from jax import nn",
        "from jax.nn import gelu",
        "import jax.nn as layers",
        "from jax.scipy.special import erf",
        "import jax.scipy\n",
        "import jax\njax.scipy.special.logsumexp(x)",
        "from jax.experimental import jet",
        "from jax.interpreters import ad",
        "import jax._src.api as api",
        "def f(library): return library.vjp(f, x)",
        "def f(library): return getattr(library, 'value_and_grad')",
        "eval('jax.grad')(f)",
        "def f():\n    import jax as inner\n    return inner.grad(f)",
    ],
)
def test_autodiff_is_found_however_it_is_written(source: str) -> None:
    assert autodiff_in(source)


@pytest.mark.parametrize(
    "source",
    [
        "from training import checkpoint\ncheckpoint.save(path, tree, {})",
        "import training.checkpoint\ntraining.checkpoint.load(path)",
        "import jax\ngrads = layer.backward(params, cache, dy)\ngrad = grads['W']\ngrad_norm = grad.sum()",
        "loss.grad; cache.jacobian; result.hessian; self.linearize()",
        "import jax.numpy as jnp\njnp.transpose(x); jnp.gradient(x); jnp.linalg.norm(x)",
        "import jax\njax.lax.top_k(x, 5); jax.tree.map(f, x); jax.random.normal(key); jax.jit(f)",
        '"""Compared with jax.grad in the tests."""\nx = "jax.grad"',
        "def grad(x): return x\ngrad(1)",
        "import re\nre.compile('a'); model.eval(); getattr(model, 'grad', None)",
        "from . import jax_free",
    ],
)
def test_names_of_our_own_are_no_false_alarm(source: str) -> None:
    assert autodiff_in(source) == []


def test_foreign_packages_are_found() -> None:
    assert foreign_packages_in("import torch.nn, os\nfrom optax import adamw\nimport numpy as np") == {"torch", "optax"}


# Program. What is differentiated keeps its history in the names of the operations: `jvp(...)/mul` in the forward half
# of a derivative, `transpose(jvp(...))/mul` in the backward half. A plain jnp.transpose is a name that ends so.

HISTORY = re.compile(r"\b(?:jvp|transpose)\(")

VIT = ViT(
    image_size=8, patch_size=4, d_model=8, heads=2, layers=2, mlp_dim=8, num_classes=3, patch_norm_before=True,
    dropout=0.1, attention_dropout=0.1, embedding_dropout=0.1, drop_path=0.1,
)  # fmt: skip
STEP = TrainingStep(
    Classification(VIT, CrossEntropy(0.1)), AdamW(WarmupCosine(1e-3, 2, 10), weight_decay=0.1),
    mean=(0.5,) * 3, std=(0.2,) * 3, max_grad_norm=1.0, accumulate=2,
    augmentation=Augmentation(
        flip=True, crop_padding=2, resized_crop=0.5, color_jitter=0.3, policy="rand_augment", erasing=0.5, mixup=0.8,
        cutmix=1.0,
    ),
)  # fmt: skip
IMAGES, LABELS = np.zeros((4, 8, 8, 3), np.uint8), np.zeros(4, np.int32)


def names_in(step: object) -> str:
    """The program of a training step, before the compiler, with the names of its operations."""
    state = jax.eval_shape(STEP.init)
    return jax.jit(step).lower(state, IMAGES, LABELS).as_text(debug_info=True)


def test_the_compiled_step_is_without_autodiff() -> None:
    names = names_in(STEP)
    assert re.search(r'\btranspose"', names)  # the names are there, and a transposed array is no alarm
    assert HISTORY.findall(names) == []


def test_a_differentiated_step_would_be_found() -> None:
    """The same forward pass and optimizer with jax.value_and_grad in the middle."""

    class Differentiated(Classification):
        def loss_and_grads(self, params, images, labels, key):
            def loss(params):
                return self.loss.forward(self.model.forward(params, images, key)[0], labels)[0]

            return jax.value_and_grad(loss)(params)

    names = names_in(replace(STEP, objective=Differentiated(VIT, CrossEntropy(0.1))))
    assert {"jvp(", "transpose("} <= set(HISTORY.findall(names))


@pytest.mark.parametrize(
    "differentiate",
    [
        lambda x: jax.vjp(jax.numpy.tanh, x)[1](x)[0],
        lambda x: jax.jvp(jax.numpy.tanh, (x,), (x,))[1],
        lambda x: jax.linearize(jax.numpy.sin, x)[1](x),
        lambda x: jax.linear_transpose(lambda x: 2 * x, x)(x)[0],
    ],
    ids=["vjp", "jvp", "linearize", "linear_transpose"],
)
def test_a_single_differentiated_function_would_be_found(differentiate: Callable[[jax.Array], jax.Array]) -> None:
    """All by hand but for one elementwise function in front."""

    class Borrowed(TrainingStep):
        def augment(self, key, images, labels):
            images, labels = super().augment(key, images, labels)
            return differentiate(images), labels

    assert HISTORY.findall(names_in(Borrowed(**vars(STEP))))
