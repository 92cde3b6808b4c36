"""Build an engine: its checkpoint, its compilation, its other files."""
