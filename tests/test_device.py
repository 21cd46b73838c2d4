"""Where to compute: never silently elsewhere, and what is said when its memory does not suffice."""

from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from benchmarks import startup
from common.command import run_command
from common.errors import UserError
from exercises import __main__ as exercises
from training.device import choose_device, describe_device, explained_out_of_memory, keep_compiled_programs

HAS_GPU = any(device.platform == "gpu" for device in jax.devices())


@pytest.fixture(autouse=True)
def default_device() -> Iterator[None]:
    before = jax.config.jax_default_device
    jax.config.update("jax_default_device", None)  # a test before may have left its choice: the contestants' does
    yield
    jax.config.update("jax_default_device", before)


def test_auto_is_the_choice_of_jax() -> None:
    assert choose_device("auto") == jax.devices()[0]


@pytest.mark.parametrize("name", ["cpu", pytest.param("gpu", marks=pytest.mark.skipif(not HAS_GPU, reason="no GPU"))])
def test_the_chosen_device_computes(name: str) -> None:
    device = choose_device(name)
    assert device.platform == name
    assert jax.numpy.zeros(3).devices() == {device}
    assert describe_device(device).startswith(f"{name}, ")


@pytest.mark.skipif(HAS_GPU, reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    with pytest.raises(UserError, match=r"finds no GPU here\. .*`pip install -r requirements-gpu\.txt`, or .* cpu$"):
        choose_device("gpu")
    assert jax.config.jax_default_device is None


# What JAX raises is an AssertionError without a word, where its build for the device is not installed.
@pytest.mark.parametrize("raised", [AssertionError(), RuntimeError("Unable to initialize backend 'cuda'")])
def test_a_platform_of_the_environment_that_is_not_there_is_one_message(
    raised: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def devices(backend: str | None = None) -> None:
        raise raised

    monkeypatch.setattr(jax, "local_devices", devices)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    with pytest.raises(UserError, match=r"^JAX_PLATFORMS=cuda: JAX finds no such device here\. Unset it, or set"):
        choose_device("auto")
    with pytest.raises(
        UserError, match=r"^--device gpu: JAX finds no GPU here, where JAX_PLATFORMS=cuda is set: unset"
    ):
        choose_device("gpu")
    monkeypatch.delenv("JAX_PLATFORMS")
    with pytest.raises(UserError, match=r"^JAX cannot use any device here\. For the CPU set JAX_PLATFORMS=cpu\. JAX"):
        choose_device("auto")


@pytest.mark.parametrize("arguments", [("check", "dropout"), ("shapes", "dropout"), ("check",), ("watch",)])
def test_the_exercises_choose_their_device_like_the_other_commands(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def choose(name: str) -> None:
        raise UserError(f"{name} is asked for")

    monkeypatch.setattr(exercises, "choose_device", choose)
    with pytest.raises(UserError, match=r"^auto is asked for"):
        exercises.main(arguments, tmp_path)


def test_a_process_of_a_benchmark_that_finds_no_device_says_so_once(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "nonsense")
    assert run_command(startup.main, ["demo", "--starts", "2"]) == 2
    err = capfd.readouterr().err
    assert err.startswith("error: JAX_PLATFORMS=nonsense: JAX finds no such device here")
    assert err.count("\n") == 1


def test_out_of_memory_says_what_to_lower() -> None:
    error = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory trying to allocate 3 bytes.\n  a long list")
    with pytest.raises(UserError) as caught, explained_out_of_memory("train.batch_size"):
        raise error
    assert caught.value.__cause__ is error
    assert str(caught.value) == (
        "the memory of the device does not suffice: lower train.batch_size. "
        "JAX says: RESOURCE_EXHAUSTED: Out of memory trying to allocate 3 bytes."
    )


@pytest.mark.parametrize("error", [jax.errors.JaxRuntimeError("INTERNAL: a bug"), ValueError("RESOURCE_EXHAUSTED")])
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, explained_out_of_memory("train.batch_size"):
        raise error
    assert caught.value is error


@pytest.fixture
def cache_option() -> Iterator[None]:
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.mark.usefixtures("cache_option")
def test_compiled_programs_are_kept_where_caches_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    keep_compiled_programs()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "vit-by-hand" / "compiled")


@pytest.mark.usefixtures("cache_option")
def test_a_folder_of_compiled_programs_that_was_chosen_stays(tmp_path: Path) -> None:
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    keep_compiled_programs()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path)
