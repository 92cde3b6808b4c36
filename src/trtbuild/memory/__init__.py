"""The memory that an LLM takes of its GPUs, as vLLM plans it: a library for builders."""
