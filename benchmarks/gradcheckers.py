"""The same planted mistakes before this project's checker and before the checkers that people use. Who catches what?

    python -m benchmarks.gradcheckers [--only TEXT] [--json FILE]

Each mistake of checks/mutants.yml that spoils a gradient is planted, and every checker is asked about the first case
in which it makes a difference, at the same point and each with its defaults:

ours            verify.check: all coordinates, complex step, Richardson, Taylor
torch           torch.autograd.gradcheck, float64: the whole Jacobian, eps 1e-6, atol 1e-5, rtol 1e-3
torch fast      the same with fast_mode=True: one random projection on either side
jax             jax.test_util.check_grads(order=1, modes=["rev"]), float64: one direction, always the same
jax float32     the same in float32, JAX's default type
cs231n          the notes of Stanford's CS231n: 10 random coordinates of each tensor, h = 1e-5, a random cotangent,
                wrong where |a - n| / max(|a|, |n|) > 1e-2
sum, h=1e-5     what people write themselves: every coordinate of sum(outputs), the same criterion

Then come mistakes that are small, single or hidden, and the engine as it is, where a complaint is a false alarm (and
takes the worth from the same complaint about a mistake). Torch is optional (`pip install torch==2.13.0` into an
environment of its own); without it its columns stay empty. Prints Markdown.
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np

from checks.cases import layer_cases, loss_cases
from checks.mutants import load_mutants, planted
from common.command import run_command
from common.files import replace_text
from common.paths import named_path
from training.device import choose_device
from verify.case import Case, Tensors
from verify.check import Checker
from verify.programs import jit

try:
    import torch
except ImportError:
    torch = None

SEED = 0
WRONG = 1e-2  # relative error that the notes call "usually wrong"


@dataclass
class Subject:
    """A case as the other checkers want it: functions of a tuple of arrays."""

    case: Case

    def __post_init__(self) -> None:
        names, case = list(self.case.tensors), self.case

        def value(*arrays: Any) -> Any:
            return case.function.value(dict(zip(names, arrays, strict=True)), case.constants)

        def gradient(dy: Any, *arrays: Any) -> tuple[Any, ...]:
            found = case.function.gradient(dict(zip(names, arrays, strict=True)), case.constants, dy)
            return tuple(found[name] for name in names)

        self.arrays = tuple(np.asarray(array) for array in case.tensors.values())
        self.value, self.gradient = jit(value, small=True), jit(gradient, small=True)

    def cotangent(self, rng: np.random.Generator | None) -> np.ndarray:
        """Random, or all ones."""
        shape = jax.eval_shape(self.value, *self.arrays).shape
        return np.ones(shape) if rng is None else rng.normal(size=shape)


# The checkers: each tells whether it complains.


def by_torch(subject: Subject, fast: bool) -> bool | None:
    if torch is None:
        return None

    class Engine(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *tensors: Any) -> Any:
            ctx.arrays = [tensor.detach().numpy() for tensor in tensors]
            return torch.from_numpy(np.array(subject.value(*ctx.arrays)))

        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            found = subject.gradient(dy.detach().numpy(), *ctx.arrays)
            return tuple(torch.from_numpy(np.array(array)) for array in found)

    tensors = [torch.from_numpy(array.copy()).requires_grad_() for array in subject.arrays]
    torch.manual_seed(SEED)
    return not torch.autograd.gradcheck(Engine.apply, tensors, fast_mode=fast, raise_exception=False)


def by_jax(subject: Subject, dtype: Any) -> bool:
    @jax.custom_vjp
    def f(*arrays: Any) -> Any:
        return subject.value(*arrays)

    f.defvjp(lambda *arrays: (subject.value(*arrays), arrays), lambda arrays, dy: subject.gradient(dy, *arrays))
    arrays = tuple(jnp.asarray(array, dtype) for array in subject.arrays)
    try:
        jax.test_util.check_grads(f, arrays, order=1, modes=["rev"])
    except AssertionError:
        return True
    return False


def by_coordinates(subject: Subject, rng: np.random.Generator, *, ones: bool, count: int | None) -> bool:
    dy, h = subject.cotangent(None if ones else rng), 1e-5
    analytic = subject.gradient(dy, *subject.arrays)
    worst = 0.0
    for number, (array, gradient) in enumerate(zip(subject.arrays, analytic, strict=True)):
        if np.shape(gradient) != array.shape:
            return True
        chosen = range(array.size) if count is None else rng.integers(array.size, size=count)
        for i in chosen:
            sides = []
            for sign in (1, -1):
                moved = array.copy()
                moved.flat[i] += sign * h
                arrays = (*subject.arrays[:number], moved, *subject.arrays[number + 1 :])
                sides.append(float(np.sum(dy * np.asarray(subject.value(*arrays)))))
            numeric, a = (sides[0] - sides[1]) / (2 * h), float(np.ravel(gradient)[i])
            scale = max(abs(a), abs(numeric))
            worst = max(worst, abs(a - numeric) / scale if scale else 0.0)
    return not worst <= WRONG


def by_ours(checker: Checker) -> bool:
    return bool(checker.check(fresh=True).wrong)


NAMES = ("ours", "torch", "torch fast", "jax", "jax float32", "cs231n", "sum, h=1e-5")


def ask_all(case: Case, checker: Checker) -> dict[str, bool | None]:
    """Every checker about one case; an exception on the way, as from a wrong shape, counts as a complaint."""
    subject = Subject(case)
    asked: dict[str, Callable[[], bool | None]] = {
        "ours": lambda: by_ours(checker),
        "torch": lambda: by_torch(subject, fast=False),
        "torch fast": lambda: by_torch(subject, fast=True),
        "jax": lambda: by_jax(subject, jnp.float64),
        "jax float32": lambda: by_jax(subject, jnp.float32),
        "cs231n": lambda: by_coordinates(subject, case.random(SEED), ones=False, count=10),
        "sum, h=1e-5": lambda: by_coordinates(subject, case.random(SEED), ones=True, count=None),
    }
    answers: dict[str, bool | None] = {}
    for name, ask in asked.items():
        try:
            answers[name] = ask()
        except Exception:  # a wrong backward may make them raise anything
            answers[name] = True
    return answers


def without(alarms: dict[str, bool | None], answers: dict[str, bool | None]) -> dict[str, bool | None]:
    """What was caught: a complaint by a checker that complains about the right gradient too tells nothing."""
    return {name: None if said is None else said and not alarms[name] for name, said in answers.items()}


# The mistakes.


def gradients(case: Case) -> Any:
    """The gradient as it is now, or what it raises."""
    subject = Subject(case)
    try:
        return [np.asarray(g) for g in subject.gradient(subject.cotangent(case.random(SEED)), *subject.arrays)]
    except Exception as error:
        return repr(error)


def differ(right: Any, now: Any) -> bool:
    if isinstance(now, str):
        return True
    return any(a.shape != b.shape or not np.allclose(a, b, rtol=1e-12, atol=0) for a, b in zip(right, now, strict=True))


@dataclass(frozen=True)
class Spoiled:
    """A function whose gradient goes through `change`."""

    function: Any
    change: Callable[[Tensors], Tensors]
    scale: float = 1.0  # of the function itself

    def value(self, tensors: Tensors, constants: Tensors) -> Any:
        return self.scale * self.function.value(tensors, constants)

    def gradient(self, tensors: Tensors, constants: Tensors, dy: Any) -> Tensors:
        return self.change(self.function.gradient(tensors, constants, self.scale * dy))


def one_tensor(name: str, change: Callable[[Any], Any]) -> Callable[[Tensors], Tensors]:
    return lambda grads: {**grads, name: change(grads[name])}


def hard_mistakes(cases: dict[str, Case]) -> list[tuple[str, Case]]:
    """Mistakes that are small, single or hidden."""

    def on(name: str, change: Callable[[Tensors], Tensors], scale: float = 1.0) -> Case:
        return replace(cases[name], function=Spoiled(cases[name].function, change, scale))

    def double(grads: Tensors) -> Tensors:
        return jax.tree.map(lambda g: 2 * g, grads)

    def rippled(g: Any) -> Any:
        return g * (1 + 1e-4 * jnp.sin(1e3 * jnp.arange(g.size)).reshape(g.shape))

    no_element = one_tensor("W", lambda g: g.at[5, 3].set(0))
    no_element_qkv = one_tensor("qkv/W", lambda g: g.at[5, 3].set(0))
    keys = one_tensor("qkv/b", lambda g: g.at[12:24].set(1e-4 * g[:12]))
    return [
        ("dense: one element of dW, of 120, is zero", on("dense", no_element)),
        ("attention: one element of dW_qkv, of 432, is zero", on("attention", no_element_qkv)),
        ("dense: dW is 0.05% too large", on("dense", one_tensor("W", lambda g: 1.0005 * g))),
        ("softmax: a ripple of 0.01% in dx", on("softmax", one_tensor("x", rippled))),
        ("layer_norm: dx is a millionth too large", on("layer_norm", one_tensor("x", lambda g: (1 + 1e-6) * g))),
        ("attention: the keys' bias gets 1e-4 of the queries', not 0", on("attention", keys)),
        ("dense, loss times 1e-6: every gradient is doubled", on("dense", double, 1e-6)),
        ("gelu, loss times 1e-6: dx is forgotten", on("gelu, tanh", one_tensor("x", lambda g: 0 * g), 1e-6)),
    ]


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.gradcheckers", description="Who catches which planted mistake?")
    parser.add_argument("--only", default="", metavar="TEXT", help="only the mistakes with TEXT in their file or name")
    parser.add_argument("--json", type=named_path, metavar="FILE", help="write every answer to FILE")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(argv)
    choose_device("auto")
    jax.config.update("jax_enable_x64", True)
    warnings.simplefilter("ignore")  # torch's, of inputs in which gradcheck is unreliable
    cases = {case.name: case for case in [*layer_cases(SEED), *loss_cases(SEED)]}
    checkers = {name: Checker(case, SEED) for name, case in cases.items()}
    right = {name: gradients(case) for name, case in cases.items()}
    alarms = {name: ask_all(case, checkers[name]) for name, case in cases.items()}
    answers: list[tuple[str, str, dict[str, bool | None]]] = []
    for mutant in load_mutants():
        if mutant.file.startswith("optim/") or args.only not in f"{mutant.file}: {mutant.mistake}":
            continue
        defined = {name for name, value in vars(mutant.module).items() if isinstance(value, type)}
        own = [name for name, case in cases.items() if case.target in defined]
        for name in own:
            checkers[name].check()  # measured without the mistake
        with planted(mutant):
            first = next(name for name in own if differ(right[name], gradients(cases[name])))
            found = without(alarms[first], ask_all(cases[first], checkers[first]))
        answers.append((mutant.file.rpartition("/")[2], mutant.mistake, found))
        print(f"{mutant.file}: {mutant.mistake}: {first}", file=sys.stderr, flush=True)
    hard = [
        (name, without(alarms[case.name], ask_all(case, Checker(case, SEED))))
        for name, case in hard_mistakes(cases)
        if args.only in name
    ]
    print("\n".join(markdown(answers, hard, alarms)))
    if args.json:
        document = {"mutants": answers, "hard": hard, "false alarms": alarms, "date": time.strftime("%Y-%m-%d")}
        replace_text(args.json, json.dumps(document, indent=1) + "\n")
    return 0


def markdown(answers: Any, hard: Any, alarms: Any) -> list[str]:
    """The table."""
    rows = [f"| | planted | {' | '.join(NAMES)} |", f"|---|---|{'---|' * len(NAMES)}"]
    for file in dict.fromkeys(file for file, _, _ in answers):
        own = [found for name, _, found in answers if name == file]
        rows.append(f"| `{file}` | {len(own)} | {' | '.join(_count(own, name) for name in NAMES)} |")
    everything = [found for _, _, found in answers]
    rows.append(f"| **all** | {len(everything)} | {' | '.join(f'**{_count(everything, n)}**' for n in NAMES)} |")
    for mistake, found in hard:
        cells = ["caught" if found[n] else "" if found[n] is None else "-" for n in NAMES]
        rows.append(f"| {mistake} | 1 | {' | '.join(cells)} |")
    own = list(alarms.values())
    rows.append(f"| false alarms on the engine as it is | {len(own)} | {' | '.join(_count(own, n) for n in NAMES)} |")
    missed = [f"{file}: {mistake}: missed by {', '.join(n for n in NAMES if found[n] is False)}"
              for file, mistake, found in answers if any(found[n] is False for n in NAMES)]  # fmt: skip
    complaints = [
        f"{name}: {', '.join(n for n in NAMES if found[n])}" for name, found in alarms.items() if any(found.values())
    ]
    return [*rows, "", "Missed:", *missed, "", "False alarms:", *complaints]


def _count(answers: list[dict[str, bool | None]], name: str) -> str:
    known = [answer[name] for answer in answers if answer[name] is not None]
    return str(sum(map(bool, known))) if known else ""


if __name__ == "__main__":
    sys.exit(run_command(main))
