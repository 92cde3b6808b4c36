"""What the command does: write, compare, check, verify."""
