"""Faults on purpose: damaged inputs, servers that misbehave, processes that are killed. `python -m benchmarks.faults`."""
