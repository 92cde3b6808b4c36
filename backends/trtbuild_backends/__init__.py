"""Adapters: models in processes of their own, which speak Triton's HTTP form on a Unix socket.

:mod:`~trtbuild_backends.backend` is the public interface of adapters. It and
:mod:`~trtbuild_backends.runner` run in an adapter's environment, on the standard library alone;
the other modules run in the gateway's process and never import an adapter.
"""
