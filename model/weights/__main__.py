"""Says where weights are exported and imported: the model, which is the lowest layer, knows neither runs nor files."""

import sys

if __name__ == "__main__":
    sys.exit("error: `python -m training.weights` exports and imports weights; `--help` shows how")
