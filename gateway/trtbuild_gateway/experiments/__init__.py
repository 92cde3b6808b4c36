"""Experiments: which variant a user gets, and the records of what came of it."""
