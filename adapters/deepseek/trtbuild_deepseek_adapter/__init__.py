"""An adapter for DeepSeek-OCR; only a worker imports it."""
