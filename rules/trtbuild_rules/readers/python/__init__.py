"""Python models: their source, and what they complete of a configuration."""
