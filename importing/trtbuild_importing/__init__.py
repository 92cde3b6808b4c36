"""Importing: archives of other servers become models of a repository. Nothing in them is run."""
