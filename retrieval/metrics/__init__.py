"""Measures of retrieval, one a file."""
