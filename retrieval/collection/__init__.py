"""What is stored: catalog, vectors, manifest."""
