"""Drift: whether the texts that a model gets are still like those of a baseline."""
