"""`python -m model.weights` runs `python -m training.weights`: the model, the lowest layer, knows no runs or files."""

import os
import sys

if __name__ == "__main__":
    os.execv(sys.executable, [sys.executable, "-m", "training.weights", *sys.argv[1:]])
