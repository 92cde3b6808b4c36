"""Complete jobs: what a command does from its arguments to its result."""
