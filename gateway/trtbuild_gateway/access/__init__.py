"""Who may ask for what, how much, and what is noted about it."""
