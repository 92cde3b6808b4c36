"""Network protocols: Triton's API over HTTP/1.1 (with server-sent events) and gRPC.

A public interface, for asyncio: :class:`~trtbuild.wire.triton_http.TritonHttp` and
:class:`~trtbuild.wire.triton_grpc.TritonGrpc` have the same methods, exchange the records of
:mod:`~trtbuild.wire.tensors` and :mod:`~trtbuild.wire.records`, and fail with the classes of
:mod:`~trtbuild.wire.failures`. :mod:`~trtbuild.wire.blocking` is for code without an event loop.
gRPC is imported when it is first used. The lowest layer: it knows no model and no benchmark.
"""
