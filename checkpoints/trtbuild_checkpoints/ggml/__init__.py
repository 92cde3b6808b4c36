"""GGUF files: our own reader, and conversion into a Hugging Face checkpoint by tensor."""
