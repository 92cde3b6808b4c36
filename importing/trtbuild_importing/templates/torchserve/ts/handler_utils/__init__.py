"""Part of what handlers import from TorchServe."""
