"""The command line of measuring."""
