"""How difficult an exercise is, and how long it takes somebody who has read its chapter."""

from typing import NamedTuple


class Effort(NamedTuple):
    """`level`: 1 for a rule or two, 2 for a derivation of one's own, 3 for several that have to fit together."""

    level: int
    minutes: int


EFFORTS = {name: Effort(level, minutes) for name, level, minutes in (
    ("circuit", 1, 15), ("matrix_product", 1, 20), ("residual", 1, 20), ("sequential", 1, 20),
    ("dense_input", 1, 15), ("dense_parameters", 1, 20), ("gelu_tanh", 1, 20), ("gelu_erf", 1, 15),
    ("softmax", 2, 30), ("cross_entropy", 2, 25), ("label_smoothing", 2, 20), ("layer_norm", 3, 60),
    ("attention", 3, 50), ("split_heads", 1, 15), ("merge_heads", 1, 10), ("multi_head_attention", 3, 90),
    ("feed_forward", 2, 30), ("patch_embedding", 2, 40), ("class_token", 1, 20), ("mean_pooling", 1, 15),
    ("dropout", 1, 10), ("drop_path", 1, 15), ("keep_tokens", 1, 15), ("pre_norm_block", 2, 30),
    ("post_norm_block", 2, 25), ("layer_scale", 1, 15), ("fault_1", 2, 30), ("fault_2", 2, 30), ("fault_3", 3, 45),
    ("vit", 3, 90), ("adamw", 2, 30), ("clipping", 1, 15), ("schedule", 1, 20), ("muon", 3, 45),
    ("central_difference", 2, 30), ("taylor_test", 1, 25), ("complex_step", 2, 30), ("temperature", 2, 25),
    ("moving_average", 2, 35), ("accumulation", 1, 25), ("attention_in_blocks", 3, 75), ("rollout", 1, 20),
    ("integrated_gradients", 2, 35), ("ring", 2, 30), ("restore_tokens", 1, 20), ("masked_error", 2, 30),
)}  # fmt: skip
