"""The process of one model: imports the adapter's class and serves it on a Unix socket.

It runs in the adapter's environment, on the standard library alone.
"""
