"""Text with positions: the place of each field or key of a file, for messages."""
