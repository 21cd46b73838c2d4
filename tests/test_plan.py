"""The plan of a run by hand: 10 steps, 4 an epoch, a checkpoint after every third."""

from training.plan import Plan

PLAN = Plan(total_steps=10, steps_per_epoch=4, checkpoint_every=3, steps_per_dispatch=2)
STEPS = range(1, 11)  # after so many


def test_epochs_end_every_fourth_step_and_with_the_run() -> None:
    assert [step for step in STEPS if PLAN.evaluates(step)] == [4, 8, 10]
    assert [PLAN.epoch_end(step) for step in range(10)] == [4, 4, 4, 4, 8, 8, 8, 8, 10, 10]
    assert [PLAN.epochs_after(step) for step in range(11)] == [0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3]
    assert PLAN.epochs == 3


def test_every_second_epoch_is_evaluated_and_the_end_of_the_run() -> None:
    plan = Plan(total_steps=22, steps_per_epoch=4, checkpoint_every=None, steps_per_dispatch=2, evaluate_every=2)
    assert [step for step in range(1, 23) if plan.evaluates(step)] == [8, 16, 22]
    assert [plan.last_evaluation(step) for step in (0, 7, 8, 15, 16, 21)] == [0, 0, 8, 8, 16, 16]
    assert [plan.next_evaluation(step) for step in (0, 7, 8, 15, 16, 21)] == [8, 8, 16, 16, 22, 22]
    assert [plan.evaluations_after(step) for step in (1, 8, 9, 16, 17, 22)] == [1, 1, 2, 2, 3, 3]


def test_only_programs_that_a_run_needs_are_compiled() -> None:
    assert Plan(12, 4, None, 2).dispatch_sizes(0) == {2}
    assert Plan(12, 4, None, 2).dispatch_sizes(3) == {1, 2}  # interrupted within a dispatch
    assert Plan(12, 4, 3, 2).dispatch_sizes(0) == {1, 2}
    assert Plan(12, 4, None, 1).dispatch_sizes(0) == {1}
    assert Plan(12, 4, None, 2).dispatch_sizes(12) == set()


def test_a_checkpoint_is_due_every_third_step() -> None:
    assert [step for step in STEPS if PLAN.saves(step)] == [3, 6, 9]
    assert not any(Plan(10, 4, None, 2).saves(step) for step in STEPS)


def test_a_dispatch_does_not_go_past_a_pause() -> None:
    """Pauses after steps 3, 4, 6, 8, 9 and 10."""
    assert [PLAN.dispatch_steps(step) for step in range(10)] == [2, 2, 1, 1, 2, 1, 2, 1, 1, 1]
    assert [Plan(10, 4, None, 4).dispatch_steps(step) for step in range(10)] == [4, 1, 1, 1, 4, 1, 1, 1, 1, 1]
    assert [Plan(10, 100, None, 4).dispatch_steps(step) for step in range(10)] == [4, 4, 4, 4, 4, 4, 4, 1, 1, 1]
