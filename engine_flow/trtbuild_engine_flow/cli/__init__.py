"""The engine flow's commands, one module each."""
