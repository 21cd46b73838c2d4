"""The plan of a run by hand: 10 steps, 4 an epoch, a checkpoint after every third."""

from training.plan import Plan

PLAN = Plan(total_steps=10, steps_per_epoch=4, checkpoint_every=3, steps_per_dispatch=2)
STEPS = range(1, 11)  # after so many


def test_epochs_end_every_fourth_step_and_with_the_run() -> None:
    assert [step for step in STEPS if PLAN.ends_epoch(step)] == [4, 8, 10]
    assert [PLAN.epoch_end(step) for step in range(10)] == [4, 4, 4, 4, 8, 8, 8, 8, 10, 10]
    assert [PLAN.epochs_after(step) for step in range(11)] == [0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3]
    assert PLAN.epochs == 3


def test_a_checkpoint_is_due_every_third_step() -> None:
    assert [step for step in STEPS if PLAN.saves(step)] == [3, 6, 9]
    assert not any(Plan(10, 4, None, 2).saves(step) for step in STEPS)


def test_a_dispatch_does_not_go_past_a_pause() -> None:
    """Pauses after steps 3, 4, 6, 8, 9 and 10."""
    assert [PLAN.dispatch_steps(step) for step in range(10)] == [2, 2, 1, 1, 2, 1, 2, 1, 1, 1]
    assert [Plan(10, 4, None, 4).dispatch_steps(step) for step in range(10)] == [4, 1, 1, 1, 4, 1, 1, 1, 1, 1]
    assert [Plan(10, 100, None, 4).dispatch_steps(step) for step in range(10)] == [4, 4, 4, 4, 4, 4, 4, 1, 1, 1]
