"""A worker: messages of a queue are answered by a served model, through the engine."""
