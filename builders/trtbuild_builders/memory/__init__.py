"""The GPU memory that an LLM needs, by vLLM's accounting: a library for builders."""

from trtbuild_builders.memory.alternatives import Names
from trtbuild_builders.memory.fitting import plan_memory

__all__ = ["Names", "plan_memory"]
