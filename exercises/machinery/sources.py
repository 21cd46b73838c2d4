"""What the text of the reader's code says before it runs."""

import ast


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
