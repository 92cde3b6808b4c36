"""Answers as clients read them: whole bodies, and events of streams."""
