"""The production server: from the bytes of a connection to a request that the application runs."""
