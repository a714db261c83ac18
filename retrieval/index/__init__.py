"""Nearest neighbours in one feature space."""
