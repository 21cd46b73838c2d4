"""How many floating-point operations the matrix products of a training step need: the floor under its time.

A product (R, I) x (I, O) takes 2 R I O operations. Backward, each takes two of the same size, one for either factor;
but the pixels are given, so the patch projection needs only the one for its weights.
"""

from benchmarks.contestants.problem import Problem


def forward_operations(problem: Problem, whole: bool = False) -> int:
    """Of the logits of a batch."""
    return problem.batch * (_patches(problem) + _encoder(problem, whole) + _head(problem))


def step_operations(problem: Problem, whole: bool = False) -> int:
    """Of a forward and a backward pass over the batch.

    Only what must be computed: of the last block the head sees the class token alone, so its queries, its attention
    output and its feed-forward are needed for one token (keys and values are for all). `whole` counts the last block
    like the others, which is what a program computes that does not know this.
    """
    return problem.batch * (2 * _patches(problem) + 3 * _encoder(problem, whole) + 3 * _head(problem))


def _patches(problem: Problem) -> int:
    return 2 * problem.patches * problem.patch_values * problem.d_model


def _encoder(problem: Problem, whole: bool) -> int:
    return (problem.layers - 1) * _block(problem, problem.tokens) + _block(problem, problem.tokens if whole else 1)


def _block(problem: Problem, Q: int) -> int:
    """A block whose output is wanted for Q of its N tokens."""
    D, M, N = problem.d_model, problem.mlp_dim, problem.tokens
    keys_and_values = 2 * N * D * 2 * D
    queries_and_output = 2 * Q * D * 2 * D
    scores_and_mixing = 2 * Q * N * 2 * D
    feed_forward = 2 * Q * D * 2 * M
    return keys_and_values + queries_and_output + scores_and_mixing + feed_forward


def _head(problem: Problem) -> int:
    return 2 * problem.d_model * problem.num_classes
