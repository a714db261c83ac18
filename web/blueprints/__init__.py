"""What the server answers, one noun a module."""
