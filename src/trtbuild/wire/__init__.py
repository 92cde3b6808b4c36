"""What goes over the network: HTTP/1.1 with server-sent events, and gRPC streams, read as bytes.

The lowest layer: it knows no model and no benchmark.
"""
