"""Watchers of the client and the server during a measurement."""
