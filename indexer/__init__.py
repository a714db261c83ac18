"""Pictures and shipped features -> a collection."""
