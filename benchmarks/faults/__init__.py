"""Faults on purpose: damaged inputs, a server that misbehaves, processes that are killed."""
