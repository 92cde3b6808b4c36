"""The servers that are asked: Triton over gRPC and HTTP, and endpoints with OpenAI's API."""

from trtbuild_batch.targets.opening import Target, open_target, parse

__all__ = ["Target", "open_target", "parse"]
