"""What stands behind `python -m exercises`: nothing in here has to be read to do the exercises."""
