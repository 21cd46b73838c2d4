"""The gradient checks of this project: its layers, losses, models and optimizers, put before `verify`."""
