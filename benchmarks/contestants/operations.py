"""Floating-point operations of the matrix products in a training step: the floor under its time.

A product (R, I) x (I, O) takes 2 R I O operations. Its backward takes two products of the same size, one for each
factor. The patch projection needs only the one for its weights: pixels have no gradient.
"""

from benchmarks.contestants.problem import Problem


def forward_operations(problem: Problem, whole: bool = False) -> int:
    """Operations for the logits of a batch; `whole` as in `step_operations`."""
    return problem.batch * (_patches(problem) + _encoder(problem, whole) + _head(problem))


def step_operations(problem: Problem, whole: bool = False) -> int:
    """Operations of a forward and a backward pass over the batch.

    Only what must be computed is counted: the head sees only the class token, so queries, attention output and
    feed-forward of the last block are needed for one token (keys and values for all). With `whole`, the last block is
    counted like the others: this is what a program computes that does not exploit this.
    """
    return problem.batch * (2 * _patches(problem) + 3 * _encoder(problem, whole) + 3 * _head(problem))


def _patches(problem: Problem) -> int:
    return 2 * problem.patches * problem.patch_values * problem.d_model


def _encoder(problem: Problem, whole: bool) -> int:
    return (problem.layers - 1) * _block(problem, problem.tokens) + _block(problem, problem.tokens if whole else 1)


def _block(problem: Problem, Q: int) -> int:
    """A block whose output is needed for Q of its N tokens."""
    D, M, N = problem.d_model, problem.mlp_dim, problem.tokens
    keys_and_values = 2 * N * D * 2 * D
    queries_and_output = 2 * Q * D * 2 * D
    scores_and_mixing = 2 * Q * N * 2 * D
    feed_forward = 2 * Q * D * 2 * M
    return keys_and_values + queries_and_output + scores_and_mixing + feed_forward


def _head(problem: Problem) -> int:
    return 2 * problem.d_model * problem.num_classes
