"""One module for each broker, on its own client."""
