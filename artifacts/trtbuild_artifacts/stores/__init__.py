"""Stores, one each."""
