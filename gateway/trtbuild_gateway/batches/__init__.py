"""Files and batches of OpenAI's API, kept in a directory."""
