"""What handlers import from TorchServe, as far as it has a counterpart in Triton."""

__version__ = "0.12.0"
