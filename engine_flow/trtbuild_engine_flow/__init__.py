"""TensorRT-LLM's engine flow, a plug-in of trtbuild: compiled engines and their models.

NVIDIA no longer develops it: TensorRT-LLM 1.2.1 is the last release that compiles engines. So the
flow is a separate source root. The core finds it only through entry points, imports nothing from
it, and works without it.
"""
