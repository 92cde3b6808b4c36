"""Graphs in files, ONNX and OpenVINO, and how their backends compare them with a configuration."""
