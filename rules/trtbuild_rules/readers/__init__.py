"""What the rules read: files of a repository as facts, without executing anything."""
