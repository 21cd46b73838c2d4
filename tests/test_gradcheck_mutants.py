"""Proof that the checks can fail: planted mistakes are caught, and leave nothing behind."""

import re
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from checks.cases import layer_cases, mutant_cases
from checks.mutants import LIST, ROOT, Mutant, MutantCheck, load_mutants, planted
from model.layers.dense import Dense
from verify import CheckError, Plan, check_layer

# In one process: the measurements without a mistake take most of the time, and are made once.
pytestmark = [pytest.mark.usefixtures("float64"), pytest.mark.xdist_group("mutants")]

MUTANTS = load_mutants()
FILES = sorted({mutant.file for mutant in MUTANTS})
LARGE = ("model/layers/attention.py", "model/mae.py", "model/one_page.py")  # whose cases take the longest to measure


@pytest.fixture(scope="module")
def trial() -> MutantCheck:
    """The cases with their measurements, which are made once."""
    return MutantCheck(mutant_cases(0), 0)


@pytest.fixture(scope="module")
def sampled() -> MutantCheck:
    """The same at a few coordinates of each tensor, which is enough to catch a mistake, if not to name it."""
    return MutantCheck(mutant_cases(0), 0, Plan(coordinates=6))


def test_there_are_enough_of_them_for_every_layer_and_the_optimizer() -> None:
    assert len(MUTANTS) >= 40
    assert len({(mutant.file, mutant.mistake) for mutant in MUTANTS}) == len(MUTANTS)
    composed = {"__init__.py", "feed_forward.py"}  # without a derivative of their own
    layers = {f"model/layers/{file.name}" for file in ROOT.glob("model/layers/*.py") if file.name not in composed}
    files = layers | {
        "model/combinators.py", "model/loss.py", "model/mae.py", "model/masked_squared_error.py", "model/one_page.py",
        "optim/adamw.py", "optim/clip.py", "optim/ema.py", "optim/muon.py",
    }  # fmt: skip
    assert set(FILES) == files
    assert min(Counter(mutant.file for mutant in MUTANTS).values()) >= 4


@pytest.mark.parametrize("file", FILES)
def test_every_mutant_finds_its_place_in_the_source(file: str) -> None:
    """After a change to a layer this says which line of mutants.yml is to be adapted."""
    for mutant in MUTANTS:
        if mutant.file == file:
            compile(mutant.source(), file, "exec")


@pytest.mark.parametrize("file", FILES)
def test_some_mutants_of_every_file_are_caught(file: str, trial: MutantCheck, sampled: MutantCheck) -> None:
    """The first, the last and the one in the middle; `python gradcheck.py --mutants` plants them all."""
    check = sampled if file in LARGE else trial
    own = [mutant for mutant in MUTANTS if mutant.file == file]
    middle = own[len(own) // 2]
    for mutant in (
        {middle} if file in ("model/one_page.py", "model/mae.py") else {own[0], middle, own[-1]}
    ):  # that takes seconds for each
        result = check.check(mutant, once=True)
        assert not result.survived, mutant.mistake
        assert result.methods
    assert all(result.passed for result in check.baseline)


@pytest.mark.parametrize(
    ("mistake", "diagnosis"),
    [
        ("dx has its sign flipped", "sign flipped"),
        ("W is not transposed in dx", "the backward raises TypeError"),
        ("dW is a mean over the rows, not a sum", r"scaled by 1/rows = 1/\(B N\)"),
        ("db is summed over the batch only", "an axis was not summed over"),
        ("the gradient of the bias is left out", "there is no gradient for it"),
        ("the term through the mean is dropped", "one term missing or extra: it is the same all along axis 2"),
        ("the term through the variance is dropped", "a multiple of x less its mean"),
        ("eps is forgotten in the cached rstd", "nearly right"),
        ("1/sqrt(K) is left out of dq", r"scaled by sqrt\(K\)"),
        ("positions are not summed over the batch", "not summed: only image 0 was counted"),
        ("the class token is averaged over the batch", "scaled by 1/B"),
        ("the residual branch is forgotten", "this is dy itself"),
        ("the mask lacks 1 / (1 - rate)", r"scaled by \(1 - rate\)"),
        ("the patches are not transposed back", "the right numbers in the wrong places"),
        ("1/B is left out", "scaled by B"),
        ("x is left out of dgamma", "this is dy summed over axis 0 and 1"),
        ("the gradient of the scale is not summed over the batch", "not summed: only image 0 was counted"),
        ("the five gradients are averaged, not added", "scaled by 1/views"),
    ],
)
def test_the_diagnosis_is_the_mistake(mistake: str, diagnosis: str, trial: MutantCheck) -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.mistake == mistake)
    found = [tensor.diagnosis for case in trial.check(mutant, once=True).caught for tensor in case.wrong]
    assert any(re.search(diagnosis, words) for words in found), found


def test_a_mutant_is_there_in_its_block_and_nowhere_else() -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.mistake == "dx is twice what it should be")
    layer, params, x = Dense(3, 2), {"W": jnp.ones((3, 2)), "b": jnp.ones(2)}, jnp.ones((4, 3))

    def dx() -> np.ndarray:
        y, cache = layer.forward(params, x)
        return np.asarray(layer.backward(params, cache, jnp.ones_like(y))[0])

    backward, right = Dense.backward, dx()
    with planted(mutant):
        np.testing.assert_array_equal(dx(), 2 * right)
    np.testing.assert_array_equal(dx(), right)
    with pytest.raises(RuntimeError, match="on the way"), planted(mutant):
        raise RuntimeError("on the way")
    assert Dense.backward is backward


@pytest.mark.parametrize(
    "mutant", [m for m in MUTANTS if m.file.startswith("model/layers")][::7], ids=lambda m: m.mistake
)
def test_a_mutant_leaves_the_forward_as_it_is(mutant: Mutant) -> None:
    """The numeric side is measured without it, so a changed forward would be no fair trial."""
    targets = {name for name, value in vars(mutant.module).items() if isinstance(value, type)}
    case = next(case for case in layer_cases(0) if case.target in targets)
    right = case.function.value(case.tensors, case.constants)
    with planted(mutant):
        np.testing.assert_array_equal(case.function.value(case.tensors, case.constants), right)


def test_a_mutant_without_its_place_is_an_error() -> None:
    nowhere = Mutant("model/layers/dense.py", "nonsense", (("there is no such text", ""),))
    with pytest.raises(CheckError, match=r"mutants.yml: model/layers/dense.py has 0 places with .* adapt the mutant"):
        nowhere.source()
    with pytest.raises(CheckError, match=r"has \d+ places"):
        Mutant("model/layers/dense.py", "twice", (("params", "x"),)).source()
    assert LIST.exists()


def test_a_survivor_is_reported(trial: MutantCheck) -> None:
    harmless = Mutant("model/layers/softmax.py", "nothing", (("dx = p * (", "dx = 1.0 * p * ("),))
    assert trial.check(harmless).survived


def test_a_stale_cache_is_seen_by_any_check_of_the_layer() -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.mistake.startswith("stale cache"))
    with planted(mutant):
        jax.clear_caches()
        result = check_layer(Dense(4, 7), (5, 4), seed=11)
    assert [tensor.name for tensor in result.wrong] == ["W"]
