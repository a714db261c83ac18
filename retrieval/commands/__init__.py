"""Subcommands of `kvasir` that this package does the work of, one file each."""
