"""Checkpoints that are made first: GGUF files converted, weights quantized."""
