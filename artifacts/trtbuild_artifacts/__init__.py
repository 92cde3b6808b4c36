"""Pushed repositories: model repositories in registries and object stores."""
