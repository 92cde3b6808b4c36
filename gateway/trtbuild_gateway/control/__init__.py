"""The control plane: load and unload models, and watch them."""
