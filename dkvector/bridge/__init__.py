"""Structured data in one backend, its vectors in another, kept in step."""
