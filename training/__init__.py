"""What the commands share: configuration, checkpoints, run folders, and the training loop itself."""
