"""One file per layer: forward and backward side by side, the derivation in the docstring above them."""
