"""Making an engine: its checkpoint, its compilation, the files beside it."""
