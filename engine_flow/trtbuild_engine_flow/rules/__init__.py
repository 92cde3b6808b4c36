"""Rules about engines and the models that serve them, by subject; importing them registers them."""

from trtbuild_engine_flow.resources import data_file
from trtbuild_engine_flow.rules import trtllm_backend, trtllm_engine, trtllm_streams

__all__ = ["CAUSES", "trtllm_backend", "trtllm_engine", "trtllm_streams"]

CAUSES = data_file("causes.toml")
"""Why engines fail, for ``trtbuild explain``."""
