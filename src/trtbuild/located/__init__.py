"""Text with positions: where each field or key of a file is, so that a message can point at it."""
