"""The engine flow's jobs: write a checkpoint, compile an engine, migrate, start ranks."""
