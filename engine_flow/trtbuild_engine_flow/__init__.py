"""TensorRT-LLM's engine flow, a plug-in of trtbuild: compiled engines and all that serves them.

NVIDIA no longer develops it: TensorRT-LLM 1.2.1 is the last release that compiles engines. So the
flow is a source root of its own. The core finds it through entry points only, imports nothing of
it, and works without it.
"""
