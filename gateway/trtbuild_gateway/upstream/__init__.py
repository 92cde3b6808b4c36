"""Servers and the models that they serve."""
