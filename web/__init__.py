"""The page for people and the REST API for programs."""
