"""Parity with PyTorch on a tiny model; the full measurement is `python -m benchmarks.parity`."""

from dataclasses import replace

import pytest

from benchmarks.parity import BOUNDS, Parity, Trial, figure, main, measure, table, within
from common.command import run_command
from model.vit import ViT

TINY = Trial(ViT(8, 4, 3, d_model=8, heads=2, layers=2, mlp_dim=12, num_classes=5, gelu="erf"), 3)
FOUND = Parity(1e-7, 1e-15, {"head/W": 1e-12, "norm/gamma": 2e-12}, [1e-16, 0.0, 3e-14], 1.5)


@pytest.mark.usefixtures("float64")
def test_a_tiny_model_has_the_logits_gradients_and_losses_of_pytorch() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    parity = measure(TINY, steps=3)
    assert len(parity.losses) == 3
    assert len(parity.gradients) == 32  # 4 of patches and tokens, 12 in each block, 4 behind them
    assert within(parity), (parity.worst, parity.losses)
    assert parity.worst["gradients"] < 1e-12


def test_the_largest_figures_are_judged_and_shown() -> None:
    assert FOUND.worst == dict(zip(BOUNDS, (1e-7, 1e-15, 2e-12, 3e-14), strict=True))
    assert within(FOUND)
    assert not within(replace(FOUND, gradients={"head/W": 1e-8}))
    assert not within(replace(FOUND, losses=[float("nan")]))
    assert "| small | 1.0e-07 | 1.0e-15 | 2.0e-12 | 3.0e-14 |" in table({"small": FOUND})
    assert figure({"small": FOUND, "oblong": FOUND}).count("<polyline") == 4


def test_bad_arguments_get_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(main, ["huge"]) == 2
    assert "huge: no such trial; there are small, oblong, ViT-B/16" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["small", "--steps", "0"])
    assert "--steps: 0 is less than 1" in capsys.readouterr().err
