"""Measuring what is served: how fast, how well it ranks, what it costs; plug-ins of trtbuild."""
