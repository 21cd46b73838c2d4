"""The table of an exercise: what is given, what is cached and what is asked for."""

import re
from typing import Any

import jax
import jax.numpy as jnp

from exercises.machinery.answers import load_answer
from exercises.machinery.catalogue import solution_module
from exercises.machinery.checkpoints import accepted, names_on_the_way
from exercises.machinery.exercise import SIZES, Exercise, flatten


def shapes(exercise: Exercise) -> list[str]:
    """A table of what is given, what is cached and what is asked for, with the shapes of an actual forward."""
    arguments = exercise.arguments()
    rows = [("given", name, leaf) for name, leaf in flatten(arguments).items()]
    if exercise.is_backward:
        y, cache = jax.eval_shape(solution_module(exercise.name).forward, *arguments.values())
        cached = cache._asdict() if hasattr(cache, "_asdict") else {"cache": cache}
        rows += [("cached", f"cache.{name}", leaf) for name, leaf in flatten(cached).items()]
        rows += [("comes in", exercise.incoming, y)]
        asked: dict[str, Any] = {f"d{name}": arguments[name] for name in exercise.wanted}
    else:
        returned = jax.eval_shape(getattr(solution_module(exercise.name), exercise.function), *arguments.values())
        values = returned if isinstance(returned, tuple) and len(exercise.wanted) > 1 else (returned,)
        asked = dict(zip(exercise.wanted, values, strict=True))
    rows += [("on the way", name, accepted(exercise)[name][0]) for name in names_on_the_way(exercise)]
    rows += [("asked for", name, leaf) for name, leaf in flatten(asked).items()]
    width = max(len(name) for _, name, _ in rows)
    used = _sizes_of(exercise, {size for _, _, leaf in rows for size in jnp.shape(leaf)})
    sizes = ", ".join(f"{name}={size}" for name, size in used.items())
    lines = [f"{what:<10} {name:<{width}}  {jnp.shape(leaf)}" for what, name, leaf in rows]
    given = f"cache, {exercise.incoming}" if exercise.is_backward else ", ".join(arguments)
    named = ["", "Give the gradients on the way these names, and the check says which is the first that is wrong."]
    return [f"{exercise.title}{f'. Sizes: {sizes}' if sizes else ''}", "", *lines, "",
            f"{exercise.function}({given}) -> {', '.join(exercise.returns)}",
            *(named if names_on_the_way(exercise) else [])]  # fmt: skip


def _sizes_of(exercise: Exercise, dimensions: set[int]) -> dict[str, int]:
    """The sizes that occur in the exercise: by letter in its file, and by value in its shapes (3 D for qkv)."""
    letters = set(re.findall(r"\w+", load_answer(exercise.name).stub))
    if letters & {"H", "HEADS"}:
        letters |= {"HEADS", "K"}
    return {name: size for name, size in SIZES.items() if name in letters and {size, 3 * size} & dimensions}
