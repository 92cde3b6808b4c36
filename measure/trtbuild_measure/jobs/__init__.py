"""What the commands that measure do, step by step."""
