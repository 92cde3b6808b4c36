"""Jobs of the commands: migrate a repository, start the ranks of one."""
