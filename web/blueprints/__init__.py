"""What the server responds to, one noun a module; each may have a REST part, `api`, and pages, `blueprint`."""
