"""What the text of the reader's code says before it runs."""

import ast
from pathlib import Path

AUTODIFF = {"grad", "value_and_grad", "vjp", "jvp", "linearize", "linear_transpose", "jacfwd", "jacrev", "jacobian",
            "hessian"}  # fmt: skip


def without_axis(source: str, function: str) -> str:
    """Of a function, the first sum or mean over all axes, as a sentence; empty if there is none."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name == function:
            for call in ast.walk(node):
                if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
                    continue
                of_module = isinstance(call.func.value, ast.Name) and call.func.value.id in ("jnp", "np")
                bare = len(call.args) == of_module and not any(word.arg == "axis" for word in call.keywords)
                if call.func.attr in ("sum", "mean") and bare:
                    return f"line {call.lineno}: `{call.func.attr}` without an axis runs over all numbers at once."
    return ""


def autodiff(path: Path) -> list[str]:
    """The functions of JAX that compute gradients and that a file names; none of a file that cannot be read."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, SyntaxError):
        return []
    found, modules = set(), {"jax"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {name.asname for name in node.names if name.asname and name.name.partition(".")[0] == "jax"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "jax":
            found |= {name.name for name in node.names} & AUTODIFF
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).partition(".")[0] in modules:
            found |= {node.attr} & AUTODIFF
    return sorted(f"jax.{name}" for name in found)
