"""Embedding refresh: a sink has a vector for every row of a changing table."""
