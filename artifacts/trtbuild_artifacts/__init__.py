"""Artifacts: model repositories in registries and object stores."""
