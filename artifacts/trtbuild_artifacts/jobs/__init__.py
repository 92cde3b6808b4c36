"""Push, pull and tag, for any store."""
