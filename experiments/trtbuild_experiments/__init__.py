"""Experiments: which of two served models users do better with, and how sure that is."""
