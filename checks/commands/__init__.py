"""What `python gradcheck.py` does: a file for each kind of check, with its `run`, and what these share."""
