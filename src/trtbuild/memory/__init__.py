"""The memory that an LLM takes of its GPUs, as vLLM plans it: a library for builders."""

from trtbuild.memory.alternatives import Names
from trtbuild.memory.fitting import plan_memory

__all__ = ["Names", "plan_memory"]
