"""A Vision Transformer whose every layer has a hand-derived backward pass.

Shapes, everywhere in this package: `B` batch, `N` tokens, `D` model width (`d_model`), `H` heads, `K = D / H` head
width, `M` hidden width of the feed-forward (`mlp_dim`), `C` classes, `P` values in a flattened patch. `dZ` is always
the derivative of the loss with respect to `Z`.
"""
