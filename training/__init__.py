"""What the commands share: configuration, checkpoints, run folders, and the training loop itself."""

import vit_environment

vit_environment.require_own("training", "common", "data", "model", "optim")
