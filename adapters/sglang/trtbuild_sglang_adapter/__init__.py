"""An adapter for SGLang; only a worker imports it."""
