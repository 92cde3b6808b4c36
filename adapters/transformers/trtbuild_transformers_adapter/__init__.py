"""An adapter for transformers; only a worker imports it."""
