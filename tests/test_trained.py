"""Loading a trained model: which checkpoint, which weights, in which precision, and what is refused."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from common.errors import CheckpointError, ConfigError, UserError
from training import checkpoint
from training.config import load_config
from training.run_folder import Classes, RunFolder
from training.trained import load_trained

OPTIONS = (
    "model.image_size=8", "model.patch_size=8", "model.d_model=4", "model.heads=1", "model.layers=1", "model.mlp_dim=4",
    "model.num_classes=3", "data.holdout=0.25",
)  # fmt: skip
CLASSES = Classes(("n0", "n1", "n2"), ("ant", "bee", "cat"), (0.5,) * 3, (0.2,) * 3, "fingerprint")
CONFIG = load_config("baseline", list(OPTIONS))
VALUES = {("best", "params"): 1.0, ("best", "average"): 2.0, ("last", "params"): 3.0, ("last", "average"): 4.0}


def params(value: float, dtype: Any = np.float32) -> Any:
    """The tree of the model's parameters, all of them this number."""
    template = jax.eval_shape(CONFIG.model.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: np.full(leaf.shape, value, dtype), template)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run that has not been evaluated, with a moving average."""
    run = RunFolder.create("baseline", tmp_path / "run")
    run.write_config(CONFIG)
    run.write_classes(CLASSES)
    save(run, "last")
    return run


def save(run: RunFolder, name: str, average: bool = True, dtype: Any = np.float32) -> None:
    tree = {part: params(VALUES[name, part], dtype) for part in ("params", *(["average"] if average else []))}
    progress = {"step": 10, "loss_count": 10, "epoch_seconds": 1.0}  # not evaluated yet
    checkpoint.save(run.path / f"{name}.npz", tree, {"step": 8} if name == "best" else {"progress": progress})


def assert_loaded(trained: Any, name: str, part: str) -> None:
    assert trained.checkpoint == trained.run.path / f"{name}.npz"
    assert trained.step == (8 if name == "best" else 10)
    assert trained.weights == ("raw" if part == "params" else "average")
    jax.tree.map(np.testing.assert_array_equal, trained.params, params(VALUES[name, part]))
    words = "raw parameters" if part == "params" else "moving average of the parameters"
    assert trained.description == f"{trained.checkpoint} (step {trained.step}, {words})"


def test_the_default_is_the_average_in_the_best_checkpoint_or_in_the_last(run: RunFolder) -> None:
    assert_loaded(load_trained(run), "last", "average")  # not evaluated
    save(run, "last", average=False)
    assert_loaded(load_trained(run), "last", "params")
    save(run, "best")
    assert_loaded(load_trained(run), "best", "average")
    save(run, "best", average=False)
    assert_loaded(load_trained(run), "best", "params")


@pytest.mark.parametrize("name", ["best", "last"])
@pytest.mark.parametrize(("weights", "part"), [("raw", "params"), ("average", "average"), (None, "average")])
def test_what_is_asked_for_is_loaded(run: RunFolder, name: str, weights: Any, part: str) -> None:
    save(run, "best")
    assert_loaded(load_trained(run, checkpoint_name=name, weights=weights), name, part)


def test_what_is_not_there_is_refused(run: RunFolder) -> None:
    with pytest.raises(UserError, match=r"best\.npz: this run has not been evaluated yet, .*use --checkpoint last"):
        load_trained(run, checkpoint_name="best")
    save(run, "last", average=False)
    with pytest.raises(UserError, match=r"last\.npz: no moving average in it, .*use --weights raw"):
        load_trained(run, weights="average")
    run.last.unlink()
    for name in (None, "best"):
        with pytest.raises(CheckpointError, match=r"best\.npz: there is no such checkpoint"):
            load_trained(run, checkpoint_name=name)
    with pytest.raises(CheckpointError, match=r"last\.npz: there is no such checkpoint"):
        load_trained(run, checkpoint_name="last")


def test_the_rest_of_the_run_is_loaded_with_it(run: RunFolder) -> None:
    trained = load_trained(run, ["data.root=elsewhere"], ["data.root"])
    assert trained.classes == CLASSES
    assert trained.model == trained.config.model == CONFIG.model
    assert (trained.config.data.root, trained.config.data.holdout) == ("elsewhere", 0.25)
    with pytest.raises(UserError, match=r"model\.layers=2: .* keeps the options it began with, but for data\.root"):
        load_trained(run, ["model.layers=2"], ["data.root"])
    with pytest.raises(ConfigError, match=r"data\.holdout=2: expected"):
        load_trained(run, ["data.holdout=2"], ["data.holdout"])
    run.classes_file.unlink()
    with pytest.raises(UserError, match=r"classes\.json: missing"):
        load_trained(run)


@pytest.mark.parametrize("meta", [{}, {"step": "8"}, {"step": -1}, {"step": 10**30}, {"step": None}, {"progress": []}])
def test_a_step_that_none_has_counted_is_refused(run: RunFolder, meta: dict[str, Any]) -> None:
    checkpoint.save(run.best, {"params": params(1.0)}, meta)
    with pytest.raises(CheckpointError, match=r"best\.npz: its progress cannot be read"):
        load_trained(run)


def test_channels_of_another_model_are_refused(run: RunFolder) -> None:
    run.write_classes(dataclasses.replace(CLASSES, mean=(0.5, 0.5), std=(0.2, 0.2)))
    with pytest.raises(UserError, match=r"it has 2 channels, and the model of config\.yml has 3"):
        load_trained(run)


def test_a_model_of_another_size_is_refused(run: RunFolder) -> None:
    run.write_config(load_config("baseline", [*OPTIONS, "model.mlp_dim=8"]))
    with pytest.raises(CheckpointError, match=r"last\.npz: of another model: .* has shape"):
        load_trained(run)
    with pytest.raises(CheckpointError, match=r"last\.npz: of another model: .* has shape"):
        load_trained(run, any_precision=True)


def types(trained: Any) -> set[Any]:
    return {leaf.dtype for leaf in jax.tree.leaves(trained.params)}


def test_the_precision_is_checked_unless_any_will_do(run: RunFolder) -> None:
    save(run, "last", dtype=np.float64)
    with pytest.raises(CheckpointError, match=r"has type float64, but the configured model wants float32"):
        load_trained(run)
    assert types(load_trained(run, any_precision=True)) == {np.dtype("float64")}
    save(run, "last", dtype=np.float32)
    assert types(load_trained(run, any_precision=True)) == types(load_trained(run)) == {np.dtype("float32")}
    save(run, "last", dtype=np.int32)  # no precision of floats, but another file
    with pytest.raises(CheckpointError, match="has type int32"):
        load_trained(run, any_precision=True)
