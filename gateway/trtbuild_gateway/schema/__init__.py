"""Requests as clients send them: their parameters, types and limits."""
