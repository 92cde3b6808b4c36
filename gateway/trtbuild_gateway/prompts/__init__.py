"""From messages to a prompt: chat templates, tokenizers, images."""
