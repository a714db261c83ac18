"""Encoders: a picture (or a text) -> an embedding of unit length, one file a family."""
