"""An adapter for vLLM; only a worker imports it."""
